"""Where to look: crop policies, and the same policies as dictionary transforms."""
