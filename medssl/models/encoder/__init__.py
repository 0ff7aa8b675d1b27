"""Encoders: one file per kind, each with a keyword-only `build`."""
