"""Training of DeepPneumonia."""
