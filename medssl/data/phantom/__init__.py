"""Phantoms: images with organs and lesions, made from a seed, as arrays, as files and as a cache."""
