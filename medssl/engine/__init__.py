"""Leaf helpers of the loops: checkpoints, schedules, logs, batch streams."""
