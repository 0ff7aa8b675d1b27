"""Patch swap: pairs of blocks are exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.arguments import count, span
from medssl.transforms.base import ANY
from medssl.transforms.boxes import draw_box, moved, nearest, within
from medssl.transforms.corruption.base import Corruption

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params
    from medssl.transforms.boxes import Range


class RandPatchSwapd(Corruption):
    """Exchange pairs of blocks of equal size. They are read from the original, so that overlapping pairs lose voxels.

    Args:
        keys: keys of the images (C,*S) with any values; all keys get the same random change.
        prob: probability that an image is changed.
        swaps: number of pairs.
        side: shortest and longest side of a block, as fractions of the image's side.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> swapped = RandPatchSwapd("image", swaps=1, side=(0.25, 0.25)).set_random_state(0)
    >>> image = np.arange(64.0).reshape(1, 8, 8)
    >>> int((swapped({"image": image})["image"] != image).sum())
    8
    """

    bounds = ANY

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        swaps: int = 10,
        side: Range = (10 / 224, 15 / 224),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.swaps, self.side = count(self, "swaps", swaps, 1), span(self, "side", side, 0, 1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw pairs of boxes of one size."""
        sides = nearest(shape[1:], self.side)
        first = [draw_box(rng, shape[1:], sides) for _ in range(self.swaps)]
        return {"boxes": [[box, moved(rng, shape[1:], box)] for box in first]}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Exchange the pairs."""
        changed = x.copy()
        for a, b in params["boxes"]:
            changed[within(a)] = x[within(b)]
            changed[within(b)] = x[within(a)]
        return changed

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Exchange the pairs of each sample."""
        changed = x.clone()
        for image, original, params in zip(changed, x, drawn, strict=True):
            for a, b in params["boxes"]:
                image[within(a)] = original[within(b)]
                image[within(b)] = original[within(a)]
        return changed

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark both boxes of each pair."""
        for pair in params["boxes"]:
            for box in pair:
                changed[within(box)[1:]] = True


build = RandPatchSwapd
