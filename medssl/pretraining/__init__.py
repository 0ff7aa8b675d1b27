"""The pretraining loop, readable from top to bottom, and what only it needs."""
