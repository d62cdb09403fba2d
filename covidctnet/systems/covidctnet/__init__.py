"""CovidCTNet: a denoiser of healthy lungs, and a 3D CNN on what it cannot explain."""
