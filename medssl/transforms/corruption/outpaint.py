"""Out-painting: all but a few windows is erased."""

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
    """Erase everything but a few windows: TransVW's out-painting (one window, noise), or DiRA's outer cut-out.

    What a window leaves of a side is rounded down: of 64 voxels TransVW's windows take 28 to 37, and of 32 from 14 to
    19, at least 3 voxels from the border.

    Args:
        keys: keys of the images (C,*S), which are in [0,1] if `fill` is "noise"; they share one draw.
        prob: probability that anything happens.
        blocks: highest number of windows that are kept.
        stop: probability that the drawing stops after a window.
        side: shortest and longest side of a window, as parts of the image's side.
        fill: a value in the image's units, or "noise": fresh, uniform in [0,1].
        margin: what a window keeps from the border: a part of the image's side, or voxels, 1 or more; less where it
            leaves no room.
        allow_missing_keys: leave alone what is not there, where an error would be raised otherwise.

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
        """Fill all, then paste the windows back."""
        if self.fill == "noise":
            changed = uniform_noise(x.shape, params["seed"])
        else:
            changed = np.full_like(x, self.fill)
        for box in params["boxes"]:
            changed[within(box)] = x[within(box)]
        return changed

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Fill all of each sample, then paste its windows back."""
        shape = tuple(x.shape[1:])
        changed = torch.stack([self.filling(shape, params["seed"], x).expand(shape) for params in drawn])
        for image, original, params in zip(changed, x, drawn, strict=True):
            for box in params["boxes"]:
                image[within(box)] = original[within(box)]
        return changed

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark all but the windows."""
        changed[...] = True
        for box in params["boxes"]:
            changed[within(box)[1:]] = False


build = RandOutpaintd
