"""Boxes and points in the formats of public datasets: one module per format, with `fits(path)` and `read(path)`."""
