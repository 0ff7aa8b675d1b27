"""Corruptions: what is erased or moved in the input, for the network to restore.

Lengths are parts of the image's side along each axis, so that a recipe fits every view size; both ends of a range can
be drawn. All channels are corrupted alike. `mask` tells which voxels a draw erased, moved or re-mapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from medssl.transforms.base import RandTransform
from medssl.transforms.boxes import draw_box, moved, within
from medssl.transforms.noise import shuffle_blocks, uniform_noise
from medssl.types import InputError

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params
    from medssl.transforms.boxes import Range


class Corruption(RandTransform):
    """A random change that is to be undone by restoration."""

    def mask(self, shape: tuple[int, ...], params: Params | None) -> np.ndarray:
        """Return where an image of `shape` (C,*S) was changed: (1,*S) bool."""
        changed = np.zeros((1, *shape[1:]), bool)
        if params is not None:
            self.mark(changed[0], params)
        return changed

    def mark(self, changed: np.ndarray, params: Params) -> None:
        """Set `changed` (*S) where the draw changes the image."""
        raise NotImplementedError


class RandCutoutd(Corruption):
    """Erase blocks: at most `blocks`; after each the drawing stops with probability `stop`. DiRA's inner cut-out.

    `side` bounds the blocks' sides; `fill` is a value, or "noise": fresh noise, uniform in [0,1].
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blocks: int = 10,
        stop: float = 0.1,
        side: Range = (10 / 224, 70 / 224),
        fill: float | Literal["noise"] = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        if blocks < 1 or not 0 < side[0] <= side[1] <= 1:
            raise InputError(f"{type(self).__name__}: blocks {blocks}, side {side}: give 1 or more, and parts in 0..1")
        self.blocks, self.stop, self.side, self.fill = blocks, stop, side, fill

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the boxes, and a seed for noise."""
        boxes = [draw_box(rng, shape[1:], self.side)]
        while len(boxes) < self.blocks and rng.random() >= self.stop:
            boxes.append(draw_box(rng, shape[1:], self.side))
        return {"boxes": boxes, "seed": int(rng.integers(2**63))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Fill the boxes."""
        changed = x.copy()
        for number, box in enumerate(params["boxes"]):
            block = changed[within(box)]
            block[...] = uniform_noise(block.shape, params["seed"] + number) if self.fill == "noise" else self.fill
        return changed

    def mark(self, changed: np.ndarray, params: Params) -> None:
        """Mark the boxes."""
        for box in params["boxes"]:
            changed[within(box)[1:]] = True


class RandInpaintd(RandCutoutd):
    """Replace blocks by noise: TransVW's in-painting, one block with sides from a sixth to a third."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blocks: int = 1,
        stop: float = 0.1,
        side: Range = (1 / 6, 1 / 3),
        fill: float | Literal["noise"] = "noise",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, blocks, stop, side, fill, allow_missing_keys)


class RandOutpaintd(RandCutoutd):
    """Erase everything but a few windows: TransVW's out-painting (one window, noise), or DiRA's outer cut-out."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blocks: int = 1,
        stop: float = 0.1,
        side: Range = (3 / 7, 4 / 7),
        fill: float | Literal["noise"] = "noise",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, blocks, stop, side, fill, allow_missing_keys)

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Fill all, then paste the windows back."""
        if self.fill == "noise":
            changed = uniform_noise(x.shape, params["seed"])
        else:
            changed = np.full_like(x, self.fill)
        for box in params["boxes"]:
            changed[within(box)] = x[within(box)]
        return changed

    def mark(self, changed: np.ndarray, params: Params) -> None:
        """Mark all but the windows."""
        changed[...] = True
        for box in params["boxes"]:
            changed[within(box)[1:]] = False


class RandPatchSwapd(Corruption):
    """Exchange `swaps` pairs of equal blocks. Contents are read from the original, so overlapping pairs lose voxels."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        swaps: int = 10,
        side: Range = (10 / 224, 15 / 224),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.swaps, self.side = swaps, side

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

    def mark(self, changed: np.ndarray, params: Params) -> None:
        """Mark both boxes of each pair."""
        for pair in params["boxes"]:
            for box in pair:
                changed[within(box)[1:]] = True


class RandLocalShuffled(Corruption):
    """Shuffle the voxels inside `blocks` small blocks, sides from one voxel to `side`; contents read from the original.

    Models Genesis takes 10,000 blocks, TransVW 5, StepwisePretraining 100.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blocks: int = 100,
        side: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.blocks, self.side = blocks, side

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw a seed, from which the blocks and their shuffles follow."""
        return {"seed": int(rng.integers(2**63))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Shuffle each block."""
        return shuffle_blocks(x, self._boxes(x.shape[1:], params), params["seed"])

    def mark(self, changed: np.ndarray, params: Params) -> None:
        """Mark the blocks."""
        for box in self._boxes(changed.shape, params).tolist():
            changed[within(box)[1:]] = True

    def _boxes(self, shape: tuple[int, ...], params: Params) -> np.ndarray:
        rng = np.random.default_rng(params["seed"])
        largest = np.maximum((np.asarray(shape) * self.side).astype(int), 1)
        size = rng.integers(1, largest + 1, (self.blocks, len(shape)))
        return np.concatenate([rng.integers(0, np.asarray(shape) - size + 1), size], axis=1)


class RandMaskBlocksd(Corruption):
    """Erase a `ratio` of the blocks of a regular grid, blocks of `block` voxels a side, as masked auto-encoders do."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        block: int = 16,
        ratio: float = 0.6,
        fill: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        if block < 1 or not 0 <= ratio <= 1:
            raise InputError(f"RandMaskBlocksd: block {block}, ratio {ratio}: give a block of 1 or more, ratio in 0..1")
        self.block, self.ratio, self.fill = block, ratio, fill

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw which blocks of the grid are erased, as flat indices."""
        blocks = int(np.prod([-(-s // self.block) for s in shape[1:]]))
        return {"blocks": np.sort(rng.permutation(blocks)[: round(self.ratio * blocks)]).tolist()}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Erase them."""
        return np.where(self.mask(x.shape, params), np.float32(self.fill), x)

    def mark(self, changed: np.ndarray, params: Params) -> None:
        """Mark the erased blocks; the last ones along an axis may be cut by the border."""
        grid = np.zeros([-(-s // self.block) for s in changed.shape], bool)
        grid.reshape(-1)[params["blocks"]] = True
        for axis in range(grid.ndim):
            grid = grid.repeat(self.block, axis)
        changed |= grid[tuple(slice(0, s) for s in changed.shape)]
