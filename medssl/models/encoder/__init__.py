"""Encoders: one file a kind, each with a keyword-only build()."""
