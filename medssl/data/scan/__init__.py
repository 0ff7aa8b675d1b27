"""From folders to the rows of a manifest: find files, read them, pair them with labels, hash their identities."""
