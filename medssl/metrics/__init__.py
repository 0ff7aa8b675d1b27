"""Metrics and statistics of downstream results."""
