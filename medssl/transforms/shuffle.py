"""Corruptions that move voxels, and keep their values: images may have any (HU, z-scores)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.arguments import count, number, span
from medssl.transforms.base import ANY
from medssl.transforms.boxes import draw_box, moved, within
from medssl.transforms.corrupt import Corruption
from medssl.transforms.noise import shuffle_blocks

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params
    from medssl.transforms.boxes import Range


class RandPatchSwapd(Corruption):
    """Exchange `swaps` pairs of equal blocks. Contents are read from the original, so overlapping pairs lose voxels."""

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
        first = [draw_box(rng, shape[1:], self.side) for _ in range(self.swaps)]
        return {"boxes": [[box, moved(rng, shape[1:], box)] for box in first]}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Exchange the pairs."""
        changed = x.copy()
        for a, b in params["boxes"]:
            changed[within(a)] = x[within(b)]
            changed[within(b)] = x[within(a)]
        return changed

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark both boxes of each pair."""
        for pair in params["boxes"]:
            for box in pair:
                changed[within(box)[1:]] = True


class RandLocalShuffled(Corruption):
    """Shuffle the voxels inside `blocks` small blocks, sides from one voxel to `side`; contents read from the original.

    Models Genesis takes 10,000 blocks, TransVW 5, StepwisePretraining 100.
    """

    bounds = ANY

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blocks: int = 100,
        side: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.blocks, self.side = count(self, "blocks", blocks, 1), number(self, "side", side, 0, 1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw a seed, from which the blocks and their shuffles follow."""
        return {"seed": int(rng.integers(2**63))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Shuffle each block."""
        return shuffle_blocks(x, self._boxes(x.shape[1:], params), params["seed"])

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark the blocks."""
        for box in self._boxes(changed.shape, params).tolist():
            changed[within(box)[1:]] = True

    def _boxes(self, shape: tuple[int, ...], params: Params) -> np.ndarray:
        rng = np.random.default_rng(params["seed"])
        largest = np.maximum((np.asarray(shape) * self.side).astype(int), 1)
        size = rng.integers(1, largest + 1, (self.blocks, len(shape)))
        return np.concatenate([rng.integers(0, np.asarray(shape) - size + 1), size], axis=1)
