"""Gamma: intensity raised to a power."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms import batched
from medssl.transforms.arguments import span
from medssl.transforms.base import RandTransform
from medssl.transforms.filters import power

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class RandGammad(RandTransform):
    """x -> x**gamma, with log(gamma) uniform, so that 1/2 is as likely as 2.

    Args:
        keys: keys of the images (C,*S) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed.
        gamma: smallest and largest exponent; below 1 brightens, above 1 darkens.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> brighter = RandGammad("image", gamma=(0.5, 0.5))
    >>> float(brighter({"image": np.full((1, 4, 4), 0.25)})["image"][0, 0, 0].round(4))
    0.5
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        gamma: tuple[float, float] = (0.7, 1.5),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.gamma = span(self, "gamma", gamma, 0.01, 100)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the exponent."""
        return {"gamma": float(np.exp(rng.uniform(*np.log(self.gamma))))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Raise to the exponent."""
        return power(x, params["gamma"])

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Raise each sample to its exponent."""
        return x.clamp(0, 1) ** batched.column([p["gamma"] for p in drawn], x)


build = RandGammad
