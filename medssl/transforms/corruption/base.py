"""The base class of corruptions: changes that report a mask of the voxels they erased, moved or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from medssl.transforms.arguments import number, refused
from medssl.transforms.base import ANY, RandTransform
from medssl.transforms.noise import uniform_noise
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class Corruption(RandTransform):
    """A random change that restoration has to undo; subclasses define `parameters`, `change` and `fill_mask`."""

    def mask(self, shape: tuple[int, ...], params: Params | None) -> np.ndarray:
        """Where an image of `shape` (C,*S) was changed: (1,*S) bool."""
        changed = np.zeros((1, *shape[1:]), bool)
        if params is not None:
            self.fill_mask(changed[0], params)
        return changed

    def drew(self, params: Params | None) -> list[tuple[str, Params]]:
        """The corruptions of a draw, by name with their parameters; a mixture lists those that it drew."""
        return [] if params is None else self.describe(params)

    def describe(self, params: Params) -> list[tuple[str, Params]]:
        """The same as `drew`, for a draw that changes the image."""
        return [(type(self).__name__, params)]

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Set `changed` (*S) to true where the draw changes the image."""
        raise NotImplementedError


class Filling(Corruption):
    """A corruption that replaces voxels.

    `fill` is a value in the unit of the image or, if `noisy`, "noise": noise, uniform in [0,1]. Raises InputError for
    an image in [0,1] with a fill outside [0,1].
    """

    def __init__(
        self, keys: KeysCollection, prob: float, fill: float | str, allow_missing_keys: bool, noisy: bool = True
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        if isinstance(fill, str) and not (noisy and fill == "noise"):
            raise refused(self, "fill", fill, "a value or 'noise'" if noisy else "a value")
        self.fill = fill if isinstance(fill, str) else number(self, "fill", fill, -1e6, 1e6)
        self.bounds = (0.0, 1.0) if self.fill == "noise" else ANY

    def check(self, image: np.ndarray, key: Hashable) -> None:
        """Raise InputError for an image outside `bounds`, and for one in [0,1] with a fill outside [0,1]."""
        super().check(image, key)
        if isinstance(self.fill, float) and not 0 <= self.fill <= 1 and image.min() >= 0 and image.max() <= 1:
            raise InputError(f"{type(self).__name__}: {key} is in 0..1, but fill is {self.fill:g}, give one in 0..1")

    def filling(self, shape: tuple[int, ...], seed: int, like: Tensor) -> Tensor:
        """The values that replace voxels, of `shape` or a single one, on the device of `like`."""
        if isinstance(self.fill, str):
            return torch.from_numpy(uniform_noise(shape, seed)).to(like.device)
        return torch.tensor(self.fill, device=like.device)
