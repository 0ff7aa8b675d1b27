"""Stain jitter: the concentration of each stain is scaled and shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from medssl.transforms import stain
from medssl.transforms.arguments import choice, number

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class RandStainJitterd(stain.Stain):
    """Scale and shift the concentration of each stain (Tellez et al. 2018): c -> c * (1 + scale) + shift.

    Raises InputError unless the image has three channels in 2D.

    Args:
        keys: keys of the RGB images (3,Y,X) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed.
        sigma: scale and shift are uniform in [-sigma, sigma].
        stains: "hed" uses fixed vectors of haematoxylin, eosin and DAB; "macenko" estimates them from the image, and
            uses the fixed ones if it has too little tissue.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> jitter = RandStainJitterd("image", sigma=0.1).set_random_state(0)
    >>> tile = np.full((3, 8, 8), 0.7, np.float32)
    >>> bool(0 < np.abs(jitter({"image": tile})["image"] - tile).max() < 0.2)
    True
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
        """Unmix, change and remix the stains."""
        density = stain.optical_density(x)
        vectors = stain.HED
        if self.stains == "macenko" and (estimated := stain.macenko(density)) is not None:
            vectors = stain.third(estimated)
        return stain.remix(density, *self.mixing(vectors, params))

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Unmix, change and remix the stains of each sample; one by one if stains are estimated."""
        if self.stains != "hed":
            return super().change_batch(x, drawn)
        parts = [self.mixing(stain.HED, params) for params in drawn]
        mixing = torch.as_tensor(np.stack([matrix for matrix, _ in parts]), dtype=torch.float32, device=x.device)
        shift = torch.as_tensor(np.stack([shift for _, shift in parts]), dtype=torch.float32, device=x.device)
        density = -x.clamp(min=stain.DARKEST).log()
        mixed = torch.einsum("bij,biyx->bjyx", mixing, density) + shift[:, :, None, None]
        return (-mixed).exp().clamp(0, 1)

    def mixing(self, vectors: np.ndarray, params: Params) -> tuple[np.ndarray, np.ndarray]:
        """The matrix (3,3) and shift (3,) of the change in optical density."""
        matrix = np.linalg.inv(vectors) @ np.diag(1 + np.asarray(params["scale"])) @ vectors
        return matrix, np.asarray(params["shift"]) @ vectors


build = RandStainJitterd
