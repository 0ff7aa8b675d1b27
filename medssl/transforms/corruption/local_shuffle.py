"""Local shuffling: voxels are shuffled inside small blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.arguments import count, number
from medssl.transforms.base import ANY
from medssl.transforms.boxes import within
from medssl.transforms.corruption.base import Corruption
from medssl.transforms.noise import shuffle_blocks

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params


class RandLocalShuffled(Corruption):
    """Shuffle the voxels inside small random blocks. All blocks are read from the original.

    Models Genesis uses 10,000 blocks, TransVW 5, StepwisePretraining 100.

    Args:
        keys: keys of the images (C,*S) with any values; all keys get the same random change.
        prob: probability that an image is changed.
        blocks: number of blocks.
        side: longest side of a block, as a fraction of the image's side; the shortest is one voxel.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> shuffled = RandLocalShuffled("image", blocks=1000, side=0.5).set_random_state(0)
    >>> image = np.arange(64.0).reshape(1, 8, 8)
    >>> bool((shuffled({"image": image})["image"] != image).mean() > 0.5)
    True
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


build = RandLocalShuffled
