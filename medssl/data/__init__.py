"""From folders of files to a manifest, and from a manifest to a cache of arrays."""
