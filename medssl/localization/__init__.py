"""Lesions from labels, candidates from predictions, and scores from both: the parts of `task: {kind: localize}`."""
