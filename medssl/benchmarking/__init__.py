"""Many fine-tunings compared: the grid of cells, their fingerprints, the comparison."""
