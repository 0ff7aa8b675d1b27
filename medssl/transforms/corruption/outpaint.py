"""Out-painting: everything outside a few random windows is erased."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from medssl.transforms.boxes import whole, within
from medssl.transforms.corruption.cutout import RandCutoutd
from medssl.transforms.noise import uniform_noise

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params
    from medssl.transforms.boxes import Range


class RandOutpaintd(RandCutoutd):
    """Erase everything outside a few windows: TransVW's out-painting (one window, noise), or DiRA's outer cut-out.

    The part outside a window is rounded down: of 64 voxels TransVW's windows take 28 to 37, of 32 voxels 14 to 19, at
    least 3 voxels from the border.

    Args:
        keys: keys of the images (C,*S), in [0,1] if `fill` is "noise"; all keys get the same random change.
        prob: probability that an image is changed.
        blocks: largest number of windows that are kept.
        stop: probability after each window that it is the last.
        side: shortest and longest side of a window, as fractions of the image's side.
        fill: a value in the unit of the image, or "noise": fresh noise, uniform in [0,1].
        margin: distance of a window from the border: a fraction of the image's side, or voxels if 1 or more; smaller
            if there is no room.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> window = RandOutpaintd("image", side=(0.5, 0.5), fill=0.0).set_random_state(0)
    >>> int(window({"image": np.ones((1, 8, 8))})["image"].sum())
    16
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blocks: int = 1,
        stop: float = 0.1,
        side: Range = (3 / 7, 4 / 7),
        fill: float | Literal["noise"] = "noise",
        margin: float = 3,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, blocks, stop, side, fill, margin, allow_missing_keys)

    def sides(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Shortest and longest side of a window of an image (*S), in voxels per axis."""
        left = whole(shape, (1 - self.side[1], 1 - self.side[0]), least=0)
        return [(max(s - most, 1), max(s - few, 1)) for s, (few, most) in zip(shape, left, strict=True)]

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Fill everything, then put the windows back."""
        if self.fill == "noise":
            changed = uniform_noise(x.shape, params["seed"])
        else:
            changed = np.full_like(x, self.fill)
        for box in params["boxes"]:
            changed[within(box)] = x[within(box)]
        return changed

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Fill all of each sample, then put its windows back."""
        shape = tuple(x.shape[1:])
        changed = torch.stack([self.filling(shape, params["seed"], x).expand(shape) for params in drawn])
        for image, original, params in zip(changed, x, drawn, strict=True):
            for box in params["boxes"]:
                image[within(box)] = original[within(box)]
        return changed

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark everything outside the windows."""
        changed[...] = True
        for box in params["boxes"]:
            changed[within(box)[1:]] = False


build = RandOutpaintd
