"""Compare many fine-tunings: the grid of runs (cells), their fingerprints, and the comparison."""
