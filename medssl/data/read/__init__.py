"""Readers: DICOM series, NIfTI and pictures to volumes with a grid, or a reason why not."""
