"""Lists of images that other tools write, as rows of a table (`scan --table`): one format per module."""
