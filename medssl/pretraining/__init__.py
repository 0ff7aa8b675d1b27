"""The pretraining loop, readable from top to bottom, and the modules that only it uses."""
