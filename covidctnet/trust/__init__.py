"""How far an answer can be trusted: calibration, and scans unlike the training data."""
