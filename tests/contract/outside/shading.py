"""A transform as a user would add it: one file. Brightness falls from one side to the other."""

from __future__ import annotations

import numpy as np

from medssl.transforms.base import RandTransform


class RandShadingd(RandTransform):
    """Multiply by a ramp along the last axis, from 1 down to 1 - strength."""

    def __init__(self, keys="image", prob: float = 1.0, strength: float = 0.5, allow_missing_keys: bool = False):
        super().__init__(keys, prob, allow_missing_keys)
        self.strength = strength

    def parameters(self, rng, shape):
        return {"fall": float(rng.uniform(0, self.strength))}

    def change(self, x, params):
        return x * np.linspace(1, 1 - params["fall"], x.shape[-1], dtype=np.float32)


build = RandShadingd
