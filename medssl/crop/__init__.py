"""Crop policies: where in the image views are cropped; the same policies also as MONAI dictionary transforms."""

from medssl.crop.transforms import ContrastiveCropd, RandResizedCropd

__all__ = ["ContrastiveCropd", "RandResizedCropd"]
