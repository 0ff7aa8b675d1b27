"""CT seen through a slightly other window: the one change of intensity that takes values not yet cut to [0,1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms import batched
from medssl.transforms.arguments import number, refused, span
from medssl.transforms.base import ANY, RandTransform
from medssl.transforms.filters import to_unit
from medssl.types import InputError

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params

_WIDE = 20  # a window wider than this is in HU, and no image that lies in [0,1] is


class RandWindowJitterd(RandTransform):
    """Look at CT through a slightly other window, moved and widened; what comes out is in [0,1].

    The default window is in HU, as are CT images that nothing has scaled yet: a wider draw then shows tissue that a
    scaled image has lost. Values outside the drawn window are cut to 0 or 1, never wrapped. With probability 1 - prob
    the window is the nominal one, which still scales to [0,1]. Raises InputError for an image that was scaled to [0,1]
    already when the window is in HU.

    Args:
        keys: keys of the images (C,*S), of any values; they share one draw.
        prob: probability that the window is moved.
        window: its nominal low and high, in the image's units; (0, 1) for images that have been scaled.
        level: how far the centre may move, as a part of the window's width.
        width: how much the width may change, as a part of it.
        allow_missing_keys: leave alone what is not there, where an error would be raised otherwise.

    >>> lung = RandWindowJitterd("image", window=(-1000, 200), level=0.0, width=0.0)
    >>> hu = np.array([[[-2000.0, -1000.0, -400.0, 3000.0]]])
    >>> lung({"image": hu})["image"].tolist()
    [[[0.0, 0.0, 0.5, 1.0]]]
    """

    bounds = ANY
    unclipped = True

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        window: tuple[float, float] = (-1000.0, 1000.0),
        level: float = 0.05,
        width: float = 0.2,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.window = span(self, "window", window, -1e6, 1e6)
        if self.window[0] == self.window[1]:
            raise refused(self, "window", window, "low < high")
        self.level, self.width = number(self, "level", level, 0, 1), number(self, "width", width, 0, 0.99)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the window; without jitter (probability 1 - prob) it is the nominal one, which still scales to [0,1]."""
        low, high = self.window
        centre, width = (low + high) / 2, high - low
        if rng.random() < self.prob:
            centre += rng.uniform(-1, 1) * self.level * width
            width *= 1 + rng.uniform(-1, 1) * self.width
        return {"low": centre - width / 2, "high": centre + width / 2}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Scale the drawn window to [0,1] and cut."""
        scaled = np.array(x, np.float32, order="C")
        to_unit(scaled, params["low"], params["high"])
        return scaled

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Scale the window of each sample to [0,1] and cut."""
        low, high = (batched.column([p[end] for p in drawn], x) for end in ("low", "high"))
        return ((x - low) / (high - low)).clamp(0, 1)

    def check(self, image: np.ndarray, key: object) -> None:
        """Refuse an image scaled to [0,1] under a window in HU, which would flatten it to one gray."""
        low, high = float(image.min()), float(image.max())
        if 0 <= low < high <= 1 and self.window[1] - self.window[0] > _WIDE:
            raise InputError(
                f"{type(self).__name__}: {key} has values from {low:g} to {high:g}, which are no HU, but window is "
                f"{self.window}: give the image in HU, or window=(0, 1)"
            )


def build(
    *, prob: float = 1.0, level: float = 0.05, width: float = 0.2, window: tuple[float, float] | None = None
) -> RandWindowJitterd:
    """Jitter of the window that the data were prepared with: views are in its units. Raises InputError for another."""
    if window is not None:
        raise InputError(
            f"window is {window}, but what is moved is the window that the data were prepared with: leave it out"
        )
    return RandWindowJitterd(prob=prob, window=(0.0, 1.0), level=level, width=width)
