"""Downstream tasks: one file a task, each with a keyword-only build()."""
