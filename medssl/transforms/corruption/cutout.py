"""Inner cut-out: random blocks are erased."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from medssl.transforms.arguments import count, number, span
from medssl.transforms.boxes import MARGIN, draw_box, nearest, within
from medssl.transforms.corruption.base import Filling
from medssl.transforms.noise import block_seed, uniform_noise

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params
    from medssl.transforms.boxes import Range


class RandCutoutd(Filling):
    """Erase random blocks: DiRA's inner cut-out.

    Args:
        keys: keys of the images (C,*S); all keys get the same random change.
        prob: probability that an image is changed.
        blocks: largest number of blocks.
        stop: probability after each block that it is the last.
        side: shortest and longest side of a block, as fractions of the image's side.
        fill: a value in the unit of the image, or "noise": fresh noise, uniform in [0,1].
        margin: distance of a block from the border: a fraction of the image's side, or voxels if 1 or more; smaller
            if there is no room.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> hole = RandCutoutd("image", blocks=1, side=(0.5, 0.5), fill=0.0).set_random_state(0)
    >>> int((hole({"image": np.ones((1, 8, 8))})["image"] == 0).sum())
    16
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blocks: int = 10,
        stop: float = 0.1,
        side: Range = (10 / 224, 70 / 224),
        fill: float | Literal["noise"] = 0.0,
        margin: float = MARGIN,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, fill, allow_missing_keys)
        self.blocks, self.stop = count(self, "blocks", blocks, 1), number(self, "stop", stop, 0, 1)
        self.side, self.margin = span(self, "side", side, 0, 1), number(self, "margin", margin, 0, 1e6)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the boxes, and a seed for noise."""
        given = shape[1:], self.sides(shape[1:]), self.margin
        boxes = [draw_box(rng, *given)]
        while len(boxes) < self.blocks and rng.random() >= self.stop:
            boxes.append(draw_box(rng, *given))
        return {"boxes": boxes, "seed": int(rng.integers(2**63))}

    def sides(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Shortest and longest side of a block of an image (*S), in voxels per axis."""
        return nearest(shape, self.side)

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

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Fill the boxes of each sample."""
        x = x.clone()
        for image, params in zip(x, drawn, strict=True):
            for number_, box in enumerate(params["boxes"]):
                block = image[within(box)]
                block[...] = self.filling(tuple(block.shape), block_seed(params["seed"], number_), x)
        return x

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark the boxes in the mask."""
        for box in params["boxes"]:
            changed[within(box)[1:]] = True


build = RandCutoutd
