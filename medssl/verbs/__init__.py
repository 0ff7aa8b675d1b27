"""The small commands: doctor, preview, demo, recipes, and the data verbs."""
