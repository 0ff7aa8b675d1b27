"""Colour changes of stained tissue, made where stains mix: in optical density. Images are RGB (3,Y,X) float32 in [0,1].

Optical density OD = -ln(rgb) of a pixel is a sum of stain vectors times concentrations (Ruifrok and Johnston 2001), so
that un-mixing, changing and re-mixing is one affine map of OD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from medssl.transforms.arguments import choice, number, refused, span
from medssl.transforms.base import RandTransform
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params

# Rows: haematoxylin, eosin, DAB (Ruifrok and Johnston 2001).
HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
# Haematoxylin and eosin vectors and 99th percentiles of concentration, the usual target of Macenko et al. 2009.
HE_TARGET = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
HE_TARGET_CONCENTRATION = np.array([1.9705, 1.0308])
DARKEST = 1 / 512  # below this a pixel's density would run to infinity
_APART = np.cos(np.deg2rad(10))  # closer than 10 degrees, both are the same stain: nothing to tell apart
STEEPEST = 2.0  # how much a difference of density may grow when stains are matched
_TISSUE = 0.15  # optical density above which a pixel is stained (Macenko et al. 2009)


class Stain(RandTransform):
    """A change of stains. Raises InputError for images other than RGB in 2D, also where the coin falls on no change."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params | None:
        """Draw parameters for an image of `shape` (3,Y,X)."""
        _refuse_gray(shape)
        return super().draw(rng, shape)

    def check(self, image: np.ndarray, key: Hashable) -> None:
        """Refuse what is not RGB, or not in [0,1]."""
        _refuse_gray(image.shape)
        super().check(image, key)


class RandStainJitterd(Stain):
    """Scale and shift the concentration of each stain (Tellez et al. 2018): c -> c * (1 + scale) + shift.

    Both are uniform in +-`sigma`. `stains`: "hed", the fixed vectors, or "macenko", those of the image itself, with the
    fixed ones where it shows too little tissue. Raises InputError unless the image has three channels in 2D.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        sigma: float = 0.05,
        stains: Literal["hed", "macenko"] = "hed",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        choice(self, "stains", stains, ("hed", "macenko"))
        self.sigma, self.stains = number(self, "sigma", sigma, 0, 1), stains

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw a scale and a shift for each of three stains."""
        return {
            "scale": rng.uniform(-self.sigma, self.sigma, 3).tolist(),
            "shift": rng.uniform(-self.sigma, self.sigma, 3).tolist(),
        }

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Un-mix, change and re-mix."""
        density = optical_density(x)
        vectors = HED
        if self.stains == "macenko" and (estimated := macenko(density)) is not None:
            vectors = _third(estimated)
        return _remix(density, *self.mixing(vectors, params))

    def mixing(self, vectors: np.ndarray, params: Params) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix (3,3) and the shift (3,) by which optical density changes."""
        matrix = np.linalg.inv(vectors) @ np.diag(1 + np.asarray(params["scale"])) @ vectors
        return matrix, np.asarray(params["shift"]) @ vectors


class RandStainMatchd(Stain):
    """Move the stains of an image part of the way, uniform in `weight`, to those of a random reference (Macenko 2009).

    `references`: RGB images (3,Y,X) in [0,1]; None takes the usual haematoxylin and eosin target. Where stains are hard
    to tell apart (tiles of one colour), un-mixing makes colours out of noise: the way is cut to three quarters, a half
    or a quarter until no difference of density grows more than twofold, and an image for which that is still too far,
    or with too little tissue, is left as it is. Raises InputError unless the image has three channels in 2D.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        references: Sequence[np.ndarray] | None = None,
        weight: tuple[float, float] = (0.0, 1.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.weight = span(self, "weight", weight, 0, 1)
        self.targets = [(HE_TARGET, HE_TARGET_CONCENTRATION)]
        if references is not None:
            if not isinstance(references, list | tuple | np.ndarray) or not len(references):
                raise refused(self, "references", references, "one RGB image (3,Y,X) or more, or None")
            self.targets = [_target(reference, i) for i, reference in enumerate(references)]

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the reference and how far to go."""
        return {"reference": int(rng.integers(len(self.targets))), "weight": float(rng.uniform(*self.weight))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Re-mix with vectors and concentrations between the image's own and the reference's."""
        density = optical_density(x)
        own = macenko(density)
        if own is None:
            return x
        target, highest = self.targets[params["reference"]]
        # A stain that is hardly there must not be blown up from noise.
        scale = np.clip(highest / np.maximum(_concentration(density, own), 1e-3), 1 / 3, 3)
        for part in (1.0, 0.75, 0.5, 0.25):
            mixing = _towards(own, target, scale, part * params["weight"])
            if np.linalg.norm(mixing, 2) <= STEEPEST:
                return _remix(density, mixing, np.zeros(3))
        return x


def optical_density(x: np.ndarray) -> np.ndarray:
    """-ln of an RGB image (3,Y,X) in [0,1]; InputError for any other shape."""
    _refuse_gray(x.shape)
    return -np.log(np.maximum(x, np.float32(DARKEST)))


def _refuse_gray(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or shape[0] != 3:
        raise InputError(f"stain transforms need an RGB image (3,Y,X), got shape {shape}: use another preset")


def macenko(density: np.ndarray) -> np.ndarray | None:
    """Estimate the haematoxylin and eosin vectors (2,3), unit rows, of a density (3,Y,X); None with too little tissue.

    Macenko et al. 2009: project the stained pixels on their two principal directions, and take the 1st and 99th
    percentile of the angle in that plane. At most 20,000 pixels are looked at. None too for a tile of a single stain.
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


def _third(vectors: np.ndarray) -> np.ndarray:
    """Add the direction that two stains do not explain."""
    normal = np.cross(*vectors)
    return np.vstack([vectors, normal / np.linalg.norm(normal)])


def _concentration(density: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """99th percentile of the concentration of each of the two stains."""
    pixels = density.reshape(3, -1).T
    pixels = pixels[:: max(len(pixels) // 20_000, 1)]
    return np.percentile(pixels @ np.linalg.inv(_third(vectors))[:, :2], 99, axis=0)


def _target(reference: np.ndarray, which: int) -> tuple[np.ndarray, np.ndarray]:
    image = np.asarray(reference)
    if image.dtype.kind not in "uif" or image.min(initial=0) < 0 or not image.max(initial=0) <= 1:
        raise InputError(f"RandStainMatchd: reference {which} is no image in 0..1, give RGB images (3,Y,X) in 0..1")
    density = optical_density(image.astype(np.float32))
    vectors = macenko(density)
    if vectors is None:
        raise InputError(f"RandStainMatchd: reference {which} shows too little stained tissue, give another image")
    return vectors, _concentration(density, vectors)


def _towards(own: np.ndarray, target: np.ndarray, scale: np.ndarray, weight: float) -> np.ndarray:
    """The change (3,3) of density that takes two stains, and how strong they are, `weight` of the way to the target."""
    between = _third((1 - weight) * own + weight * target)
    return np.linalg.inv(_third(own)) @ np.diag([*scale**weight, 1.0]) @ between


def _remix(density: np.ndarray, mixing: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """exp(-(OD @ mixing + shift)) of a density (3,Y,X), cut to [0,1]."""
    changed = -(mixing.T.astype(np.float32) @ density.reshape(3, -1))
    changed -= shift.astype(np.float32)[:, None]
    np.exp(changed, out=changed)
    return np.clip(changed, 0, 1, out=changed).reshape(density.shape)
