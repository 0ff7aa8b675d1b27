"""Pretraining methods: one file per method, each with a keyword-only build()."""
