"""In-painting: blocks are replaced by noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from medssl.transforms.boxes import whole
from medssl.transforms.corruption.cutout import RandCutoutd

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.boxes import Range


class RandInpaintd(RandCutoutd):
    """Replace blocks by noise: TransVW's in-painting, one block with sides from a sixth to a third, rounded down.

    Of 64 x 64 x 32 voxels these are 10 to 21, 10 to 21 and 5 to 10, at least 3 voxels from the border.

    Args:
        keys: keys of the images (C,*S), which are in [0,1] if `fill` is "noise"; they share one draw.
        prob: probability that anything happens.
        blocks: highest number of blocks.
        stop: probability that the drawing stops after a block.
        side: shortest and longest side of a block, as parts of the image's side.
        fill: a value in the image's units, or "noise": fresh, uniform in [0,1].
        margin: what a block keeps from the border: a part of the image's side, or voxels, 1 or more; less where it
            leaves no room.
        allow_missing_keys: leave alone what is not there, where an error would be raised otherwise.

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
