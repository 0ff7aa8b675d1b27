"""What DiRA adds to a method: restoration and an adversary."""
