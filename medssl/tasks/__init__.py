"""Downstream tasks: one file per task, each with a `build()` that takes keywords only."""
