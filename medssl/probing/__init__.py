"""What frozen features know: features of images, linear probes, neighbours, few labels, and what they must beat."""
