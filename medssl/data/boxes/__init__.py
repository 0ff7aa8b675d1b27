"""Boxes and points as public datasets publish them: one module a format, each with `fits(path)` and `read(path)`."""
