"""The branches that DiRA adds to a method: restoration and an adversary."""
