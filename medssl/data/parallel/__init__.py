"""Work in several processes, as many as this machine can take."""
