"""Pretraining methods: one file a method, each with a keyword-only build()."""
