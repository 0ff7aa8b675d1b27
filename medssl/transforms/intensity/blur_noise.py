"""Blur and noise, as they vary with dose, reconstruction kernel and scanner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms import batched
from medssl.transforms.arguments import number, span
from medssl.transforms.base import RandTransform
from medssl.transforms.filters import blur
from medssl.transforms.noise import add_noise

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class RandBlurNoised(RandTransform):
    """Gaussian blur, then Gaussian noise, each with its own probability; clipped to [0,1].

    The seed of the noise is one of the drawn parameters, so that the noise can be reproduced.

    Args:
        keys: keys of the images (C,*S) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed.
        blur: probability of blur.
        sigma: smallest and largest standard deviation of the blur, in voxels.
        noise: probability of noise.
        std: smallest and largest standard deviation of the noise.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> noisy = RandBlurNoised("image", blur=0.0, noise=1.0, std=(0.1, 0.1)).set_random_state(0)
    >>> round(float(noisy({"image": np.full((1, 64, 64), 0.5)})["image"].std()), 2)
    0.1
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blur: float = 0.5,
        sigma: tuple[float, float] = (0.3, 1.0),
        noise: float = 0.5,
        std: tuple[float, float] = (0.0, 0.05),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.blur, self.noise = number(self, "blur", blur, 0, 1), number(self, "noise", noise, 0, 1)
        self.sigma, self.std = span(self, "sigma", sigma, 0, 100), span(self, "std", std, 0, 1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw sigma, the noise's standard deviation (0: none) and its seed."""
        blurred, noisy = rng.random(2) < (self.blur, self.noise)
        return {
            "sigma": float(rng.uniform(*self.sigma)) if blurred else 0.0,
            "std": float(rng.uniform(*self.std)) if noisy else 0.0,
            "seed": int(rng.integers(2**63)),
        }

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Blur, then add noise."""
        changed = blur(x, params["sigma"]) if params["sigma"] > 0 else x
        if params["std"] > 0:
            changed = add_noise(changed, params["std"], params["seed"])
        return changed

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Blur the samples drawn for it, then add noise to the samples drawn for it."""
        blurred = [i for i, p in enumerate(drawn) if p["sigma"] > 0]
        noisy = [i for i, p in enumerate(drawn) if p["std"] > 0]
        x = x.clone()
        if blurred:
            x[blurred] = batched.blur(x[blurred], [drawn[i]["sigma"] for i in blurred])
        for i in noisy:
            x[i] = (x[i] + batched.normal(x[i], drawn[i]["seed"]) * drawn[i]["std"]).clamp(0, 1)
        return x


build = RandBlurNoised
