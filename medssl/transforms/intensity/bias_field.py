"""Bias field: the smooth shading of an MR receiver coil."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from medssl.transforms import batched
from medssl.transforms.arguments import count, number
from medssl.transforms.base import RandTransform

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class RandBiasFieldd(RandTransform):
    """Multiply by a smooth field, like the shading of an MR receiver coil; clipped to [0,1].

    The logarithm of the field is a sum of Legendre polynomials along all axes, scaled so that its largest absolute
    value over the image is uniform in [0, strength]. A constant image takes on the shape of the field; zero stays zero.

    Args:
        keys: keys of the images (C,*S) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed.
        strength: largest absolute value of the logarithm of the field: 0.5 is a factor from 0.61 to 1.65.
        degree: highest total degree of the polynomials.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> coil = RandBiasFieldd("image", strength=0.5).set_random_state(0)
    >>> shaded = coil({"image": np.full((1, 8, 8), 0.5)})["image"]
    >>> bool(0.5 / np.exp(0.5) <= shaded.min() < shaded.max() <= 0.5 * np.exp(0.5))
    True
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        strength: float = 0.5,
        degree: int = 3,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.strength = number(self, "strength", strength, 0, 10)
        self.degree = count(self, "degree", degree, 1, 10)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw polynomial coefficients (degree+1 per axis) and the strength."""
        n = len(shape) - 1
        coefficients = rng.uniform(-1, 1, [self.degree + 1] * n)
        total = np.indices(coefficients.shape).sum(0)
        coefficients[(total > self.degree) | (total == 0)] = 0
        return {"coefficients": coefficients.tolist(), "strength": float(rng.uniform(0, self.strength))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Multiply by the field."""
        field = np.asarray(params["coefficients"], np.float32)
        for size in reversed(x.shape[1:]):
            basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, size), field.shape[-1] - 1)
            field = np.tensordot(basis.astype(np.float32), field, (1, -1))
        field *= params["strength"] / max(float(np.abs(field).max()), 1e-6)
        changed = x * np.exp(field, out=field)
        return np.clip(changed, 0, 1, out=changed)

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Multiply each sample by its field."""
        field = torch.as_tensor(np.stack([p["coefficients"] for p in drawn]), dtype=torch.float32, device=x.device)
        for size in x.shape[2:]:  # contract the first axis of coefficients, and put that of voxels last
            basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, size), field.shape[1] - 1)
            field = torch.tensordot(field, torch.as_tensor(basis.T, dtype=torch.float32, device=x.device), ([1], [0]))
        largest = field.flatten(1).abs().amax(1).clamp(min=1e-6).reshape(-1, *[1] * (field.ndim - 1))
        strength = batched.column([p["strength"] for p in drawn], field)
        return (x * (field * strength / largest).exp()[:, None]).clamp(0, 1)


build = RandBiasFieldd
