"""MONAI dictionary transforms: geometry, intensity, stain and corruption; each draws parameters, then applies them.

Those that crop are in `medssl.crop`.
"""

from medssl.transforms.corrupt import RandCutoutd, RandInpaintd, RandMaskBlocksd, RandOutpaintd
from medssl.transforms.intensity import (
    RandBezierIntensityd,
    RandBiasFieldd,
    RandBlurNoised,
    RandGammad,
    RandHistogramShiftd,
)
from medssl.transforms.shuffle import RandLocalShuffled, RandPatchSwapd
from medssl.transforms.spatial import RandAffineWarpd, RandElasticWarpd
from medssl.transforms.stain import RandStainJitterd, RandStainMatchd
from medssl.transforms.window import RandWindowJitterd

__all__ = [
    "RandAffineWarpd",
    "RandBezierIntensityd",
    "RandBiasFieldd",
    "RandBlurNoised",
    "RandCutoutd",
    "RandElasticWarpd",
    "RandGammad",
    "RandHistogramShiftd",
    "RandInpaintd",
    "RandLocalShuffled",
    "RandMaskBlocksd",
    "RandOutpaintd",
    "RandPatchSwapd",
    "RandStainJitterd",
    "RandStainMatchd",
    "RandWindowJitterd",
]
