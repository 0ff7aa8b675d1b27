"""Resampling: all geometry is combined into one map, and each voxel is interpolated once."""
