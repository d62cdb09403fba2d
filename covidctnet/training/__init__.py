"""Training from the command line: trainer, options, checkpoints, curves, variations."""
