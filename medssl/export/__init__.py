"""Weights in the formats other tools read."""
