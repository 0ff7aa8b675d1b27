"""Stain matching: the stains of an image are moved towards those of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms import stain
from medssl.transforms.arguments import refused, span
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params

STEEPEST = 2.0  # largest factor by which a difference in density may grow


class RandStainMatchd(stain.Stain):
    """Move the stains of an image part of the way towards those of a random reference (Macenko et al. 2009).

    In tiles of one colour, stains are hard to separate, and unmixing would turn noise into colours. The change is then
    reduced to 3/4, 1/2 or 1/4, until no difference in density grows more than twofold; if that is not enough, or with
    too little tissue, the image is not changed. Raises InputError unless the image has three channels in 2D.

    Args:
        keys: keys of the RGB images (3,Y,X) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed.
        references: RGB images (3,Y,X) in [0,1], one or more; None: the usual haematoxylin and eosin target.
        weight: smallest and largest part of the way, 1 being all of it.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> matched = RandStainMatchd("image", weight=(1.0, 1.0))
    >>> blank = np.ones((3, 16, 16), np.float32)  # no tissue: left as it is
    >>> bool((matched({"image": blank})["image"] == blank).all())
    True
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
        self.targets = [(stain.HE_TARGET, stain.HE_TARGET_CONCENTRATION)]
        if references is not None:
            if not isinstance(references, list | tuple | np.ndarray) or not len(references):
                raise refused(self, "references", references, "one RGB image (3,Y,X) or more, or None")
            self.targets = [_target(reference, i) for i, reference in enumerate(references)]

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the reference and how far to go."""
        return {"reference": int(rng.integers(len(self.targets))), "weight": float(rng.uniform(*self.weight))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Remix with vectors and concentrations between those of the image and those of the reference."""
        density = stain.optical_density(x)
        own = stain.macenko(density)
        if own is None:
            return x
        target, highest = self.targets[params["reference"]]
        # A stain that is hardly present must not be amplified from noise.
        scale = np.clip(highest / np.maximum(stain.concentration(density, own), 1e-3), 1 / 3, 3)
        for part in (1.0, 0.75, 0.5, 0.25):
            mixing = _towards(own, target, scale, part * params["weight"])
            if np.linalg.norm(mixing, 2) <= STEEPEST:
                return stain.remix(density, mixing, np.zeros(3))
        return x


def _target(reference: np.ndarray, which: int) -> tuple[np.ndarray, np.ndarray]:
    image = np.asarray(reference)
    if image.dtype.kind not in "uif" or image.min(initial=0) < 0 or not image.max(initial=0) <= 1:
        raise InputError(f"RandStainMatchd: reference {which} is not an image in 0..1, give RGB images (3,Y,X) in 0..1")
    density = stain.optical_density(image.astype(np.float32))
    vectors = stain.macenko(density)
    if vectors is None:
        raise InputError(f"RandStainMatchd: reference {which} has too little stained tissue, give another image")
    return vectors, stain.concentration(density, vectors)


def _towards(own: np.ndarray, target: np.ndarray, scale: np.ndarray, weight: float) -> np.ndarray:
    """The matrix (3,3) that moves two stain vectors and their strengths by `weight` of the way to the target."""
    between = stain.third((1 - weight) * own + weight * target)
    return np.linalg.inv(stain.third(own)) @ np.diag([*scale**weight, 1.0]) @ between


build = RandStainMatchd
