"""How images become arrays of a cache: which images, in what units, with which labels."""
