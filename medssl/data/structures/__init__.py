"""Masks in DICOM objects that refer to an image series: Segmentation and RT Structure Set."""
