"""What CovidCTNet learns from, by which losses, and what is fitted and exported after it."""
