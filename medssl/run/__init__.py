"""One program a verb, each readable from top to bottom."""
