"""Colour changes of stained tissue, computed in optical density. Images are RGB (3,Y,X) float32 in [0,1].

The optical density OD = -ln(rgb) of a pixel is the sum of the stain vectors times their concentrations (Ruifrok and
Johnston 2001). Unmixing, changing and remixing stains is therefore one affine map of OD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.base import RandTransform
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from medssl.transforms.base import Params

# Rows: haematoxylin, eosin, DAB (Ruifrok and Johnston 2001).
HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
# Haematoxylin and eosin vectors and 99th percentiles of concentration, the usual target of Macenko et al. 2009.
HE_TARGET = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
HE_TARGET_CONCENTRATION = np.array([1.9705, 1.0308])
DARKEST = 1 / 512  # darker pixels are set to this, since their density would go to infinity
_APART = np.cos(np.deg2rad(10))  # stain vectors closer than 10 degrees count as one stain
_TISSUE = 0.15  # optical density above which a pixel is stained (Macenko et al. 2009)


class Stain(RandTransform):
    """A change of stains. Raises InputError for images other than RGB in 2D, even if they are not changed."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params | None:
        """Draw parameters for an image of `shape` (3,Y,X)."""
        refuse_gray(shape)
        return super().draw(rng, shape)

    def fits(self, spatial_dims: int, channels: int | None) -> None:
        """Raise InputError for images other than RGB in 2D."""
        if spatial_dims != 2 or channels not in (None, 3):
            raise InputError(
                f"{type(self).__name__} needs RGB images in 2D, but spatial_dims is {spatial_dims} and channels is "
                f"{channels}: set channels=3 if they are RGB, use another preset, or give an intensity list without it"
            )

    def check(self, image: np.ndarray, key: Hashable) -> None:
        """Raise InputError for an image that is not RGB or not in [0,1]."""
        refuse_gray(image.shape)
        super().check(image, key)


def optical_density(x: np.ndarray) -> np.ndarray:
    """-ln of an RGB image (3,Y,X) in [0,1]. Raises InputError for any other shape."""
    refuse_gray(x.shape)
    return -np.log(np.maximum(x, np.float32(DARKEST)))


def refuse_gray(shape: tuple[int, ...]) -> None:
    """Raise InputError for a shape other than that of an RGB image (3,Y,X)."""
    if len(shape) != 3 or shape[0] != 3:
        raise InputError(f"stain transforms need an RGB image (3,Y,X), got shape {shape}: use another preset")


def macenko(density: np.ndarray) -> np.ndarray | None:
    """Estimate the haematoxylin and eosin vectors (2,3), unit rows, from optical density (3,Y,X).

    Macenko et al. 2009: project the stained pixels onto their two principal directions, and take the 1st and 99th
    percentile of the angle in that plane. At most 20,000 pixels are used. None for too little tissue or a single stain.
    """
    pixels = density.reshape(3, -1).T.astype(np.float64)
    pixels = pixels[:: max(len(pixels) // 20_000, 1)]
    stained = pixels[(pixels > _TISSUE).all(1)]
    if len(stained) < 100 or len(stained) < 0.01 * len(pixels):
        return None
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, 1:]
    plane = plane * np.where(plane.sum(0) < 0, -1, 1)
    along = stained @ plane
    angles = np.percentile(np.arctan2(along[:, 0], along[:, 1]), [1, 99])
    vectors = np.stack([np.sin(angles), np.cos(angles)], 1) @ plane.T
    vectors = np.clip(vectors, 0, None) / np.linalg.norm(np.clip(vectors, 0, None), axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or vectors[0] @ vectors[1] > _APART:
        return None
    return vectors[np.argsort(-vectors[:, 0])]  # haematoxylin absorbs more red than eosin does


def third(vectors: np.ndarray) -> np.ndarray:
    """Add the direction orthogonal to two stain vectors, as a third vector."""
    normal = np.cross(*vectors)
    return np.vstack([vectors, normal / np.linalg.norm(normal)])


def concentration(density: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The 99th percentile of the concentration of each of two stains."""
    pixels = density.reshape(3, -1).T
    pixels = pixels[:: max(len(pixels) // 20_000, 1)]
    return np.percentile(pixels @ np.linalg.inv(third(vectors))[:, :2], 99, axis=0)


def remix(density: np.ndarray, mixing: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """exp(-(OD @ mixing + shift)) of an optical density (3,Y,X), clipped to [0,1]."""
    changed = -(mixing.T.astype(np.float32) @ density.reshape(3, -1))
    changed -= shift.astype(np.float32)[:, None]
    np.exp(changed, out=changed)
    return np.clip(changed, 0, 1, out=changed).reshape(density.shape)
