"""Parts from outside of medssl, small enough to be computed by hand, that keep what they are shown."""
