"""From folders to the rows of a manifest: files found, judged, paired with labels, named by keyed hashes."""
