"""Random block masks, as in masked auto-encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from medssl.transforms.arguments import count, number
from medssl.transforms.corruption.base import Filling

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class RandMaskBlocksd(Filling):
    """Erase a `ratio` of the blocks of a regular grid, as masked auto-encoders do (He et al. 2022).

    Args:
        keys: keys of the images (C,*S); all keys get the same random change.
        prob: probability that an image is changed.
        block: side of a block in voxels; the last blocks along an axis may be smaller.
        ratio: share of the blocks that is erased: 0.6 in SparK (Tian et al. 2023), 0.75 with transformers.
        fill: value of erased voxels, in the unit of the image.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> masked = RandMaskBlocksd("image", block=4, ratio=0.75).set_random_state(0)
    >>> float(masked({"image": np.ones((1, 8, 8))})["image"].mean())
    0.25
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        block: int = 16,
        ratio: float = 0.6,
        fill: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, fill, allow_missing_keys, noisy=False)
        self.block, self.ratio = count(self, "block", block, 1), number(self, "ratio", ratio, 0, 1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw which blocks of the grid are erased, as flat indices."""
        blocks = int(np.prod([-(-s // self.block) for s in shape[1:]]))
        return {"blocks": np.sort(rng.permutation(blocks)[: round(self.ratio * blocks)]).tolist()}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Erase the blocks."""
        return np.where(self.mask(x.shape, params), np.float32(self.fill), x)

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Erase the blocks of each sample."""
        masks = np.stack([self.mask(tuple(x.shape[1:]), params) for params in drawn])
        return x.masked_fill(torch.from_numpy(masks).to(x.device), float(self.fill))

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark the erased blocks."""
        grid = np.zeros([-(-s // self.block) for s in changed.shape], bool)
        grid.reshape(-1)[params["blocks"]] = True
        for axis in range(grid.ndim):
            grid = grid.repeat(self.block, axis)
        changed |= grid[tuple(slice(0, s) for s in changed.shape)]


build = RandMaskBlocksd
