"""A random tone curve as a corruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.corruption.base import Corruption
from medssl.transforms.intensity.bezier import RandBezierIntensityd

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class RandRemapd(Corruption):
    """A random Bezier tone curve as a corruption; every voxel counts as changed.

    Args:
        keys: keys of the images (C,*S) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed.
        invert: probability that bright and dark are exchanged: 0.5 in Models Genesis and TransVW.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> remap = RandRemapd("image")
    >>> bool(remap.mask((1, 8, 8), remap.draw(np.random.default_rng(0), (1, 8, 8))).all())
    True
    """

    def __init__(
        self, keys: KeysCollection = "image", prob: float = 1.0, invert: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.curve = RandBezierIntensityd(keys, invert=invert)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the curve."""
        return self.curve.parameters(rng, shape)

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply the curve."""
        return self.curve.change(x, params)

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Apply to each sample its own curve."""
        return self.curve.change_batch(x, drawn)

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark all voxels."""
        changed[...] = True


build = RandRemapd
