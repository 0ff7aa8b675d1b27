"""The one resampling pass: maps composed, displacements drawn, voxels sampled once."""
