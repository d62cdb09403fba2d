"""CovidCTNet: a denoiser of healthy lungs, and a 3D CNN on what it cannot explain."""

from covidctnet.systems.covidctnet.system import SYSTEM

__all__ = ["SYSTEM"]
