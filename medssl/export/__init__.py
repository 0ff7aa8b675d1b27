"""Export weights in formats that other tools read."""
