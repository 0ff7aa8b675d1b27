"""In-painting: random blocks are replaced by noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from medssl.transforms.boxes import whole
from medssl.transforms.corruption.cutout import RandCutoutd

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.boxes import Range


class RandInpaintd(RandCutoutd):
    """Replace random blocks by noise: TransVW's in-painting.

    By default one block with sides from a sixth to a third of the image's side, rounded down: of 64 x 64 x 32 voxels
    10 to 21, 10 to 21 and 5 to 10, at least 3 voxels from the border.

    Args:
        keys: keys of the images (C,*S), in [0,1] if `fill` is "noise"; all keys get the same random change.
        prob: probability that an image is changed.
        blocks: largest number of blocks.
        stop: probability after each block that it is the last.
        side: shortest and longest side of a block, as fractions of the image's side.
        fill: a value in the unit of the image, or "noise": fresh noise, uniform in [0,1].
        margin: distance of a block from the border: a fraction of the image's side, or voxels if 1 or more; smaller
            if there is no room.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> import numpy as np
    >>> noise = RandInpaintd("image").set_random_state(0)
    >>> share = (noise({"image": np.zeros((1, 60, 60), np.float32)})["image"] > 0).mean()
    >>> bool(1 / 36 <= share <= 1 / 9)
    True
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blocks: int = 1,
        stop: float = 0.1,
        side: Range = (1 / 6, 1 / 3),
        fill: float | Literal["noise"] = "noise",
        margin: float = 3,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, blocks, stop, side, fill, margin, allow_missing_keys)

    def sides(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Shortest and longest side of a block of an image (*S), in voxels per axis."""
        return whole(shape, self.side)


build = RandInpaintd
