"""How far an answer can be trusted: calibration, and detection of scans out of distribution."""
