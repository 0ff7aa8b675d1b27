"""Hypothesis draws the same examples each time: a change breaks a test, not the day on which it runs."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
