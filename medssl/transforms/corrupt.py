"""Corruptions: what is erased in the input, for the network to restore; `shuffle` has those that move voxels.

Lengths are parts of the image's side along each axis, so that a recipe fits every view size; both ends of a range can
be drawn. All channels are corrupted alike. `mask` tells which voxels a draw erased, moved or re-mapped. Images may have
any values (HU, z-scores), but for fill="noise", which is in [0,1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from medssl.transforms.arguments import count, number, refused, span
from medssl.transforms.base import ANY, RandTransform
from medssl.transforms.boxes import draw_box, within
from medssl.transforms.noise import block_seed, uniform_noise
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params
    from medssl.transforms.boxes import Range


class Corruption(RandTransform):
    """A random change that is to be undone by restoration."""

    def mask(self, shape: tuple[int, ...], params: Params | None) -> np.ndarray:
        """Return where an image of `shape` (C,*S) was changed: (1,*S) bool."""
        changed = np.zeros((1, *shape[1:]), bool)
        if params is not None:
            self.fill_mask(changed[0], params)
        return changed

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Set `changed` (*S) where the draw changes the image."""
        raise NotImplementedError


class Filling(Corruption):
    """A corruption that puts something in place of voxels.

    `fill` is a value in the image's units, or, where `noisy`, "noise": fresh noise, uniform in [0,1]. Raises InputError
    for an image in [0,1] with a fill that is not, since nothing would bring it back there.
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
        """Refuse an image out of `bounds`, and one in [0,1] that `fill` would take out of it."""
        super().check(image, key)
        if isinstance(self.fill, float) and not 0 <= self.fill <= 1 and image.min() >= 0 and image.max() <= 1:
            raise InputError(f"{type(self).__name__}: {key} is in 0..1, but fill is {self.fill:g}, give one in 0..1")


class RandCutoutd(Filling):
    """Erase blocks: at most `blocks`; after each the drawing stops with probability `stop`. DiRA's inner cut-out.

    `side` bounds the blocks' sides; `fill` is a value in the image's units, or "noise": fresh, uniform in [0,1].
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
        super().__init__(keys, prob, fill, allow_missing_keys)
        self.blocks, self.stop = count(self, "blocks", blocks, 1), number(self, "stop", stop, 0, 1)
        self.side = span(self, "side", side, 0, 1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the boxes, and a seed for noise."""
        boxes = [draw_box(rng, shape[1:], self.side)]
        while len(boxes) < self.blocks and rng.random() >= self.stop:
            boxes.append(draw_box(rng, shape[1:], self.side))
        return {"boxes": boxes, "seed": int(rng.integers(2**63))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Fill the boxes."""
        changed = x.copy()
        for i, box in enumerate(params["boxes"]):
            block = changed[within(box)]
            if self.fill == "noise":
                block[...] = uniform_noise(block.shape, block_seed(params["seed"], i))
            else:
                block[...] = self.fill
        return changed

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
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

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark all but the windows."""
        changed[...] = True
        for box in params["boxes"]:
            changed[within(box)[1:]] = False


class RandMaskBlocksd(Filling):
    """Erase a `ratio` of the blocks of a regular grid, blocks of `block` voxels a side, as masked auto-encoders do.

    `fill` is a value in the image's units.
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
        """Erase them."""
        return np.where(self.mask(x.shape, params), np.float32(self.fill), x)

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark the erased blocks; the last ones along an axis may be cut by the border."""
        grid = np.zeros([-(-s // self.block) for s in changed.shape], bool)
        grid.reshape(-1)[params["blocks"]] = True
        for axis in range(grid.ndim):
            grid = grid.repeat(self.block, axis)
        changed |= grid[tuple(slice(0, s) for s in changed.shape)]
