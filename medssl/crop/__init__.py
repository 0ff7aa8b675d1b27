"""Where to look: crop policies, and the same policies as dictionary transforms."""

from medssl.crop.transforms import ContrastiveCropd, RandResizedCropd

__all__ = ["ContrastiveCropd", "RandResizedCropd"]
