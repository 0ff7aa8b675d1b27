"""How images become arrays of a cache: which, in what units, on what grid, with which labels."""
