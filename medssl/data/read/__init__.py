"""Readers of DICOM series, NIfTI and 2D image files: each gives a volume with its grid, or a reason why not."""
