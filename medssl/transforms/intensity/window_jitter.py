"""Window jitter for CT: the only intensity change that needs values not yet clipped to [0,1]."""

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

_WIDE = 20  # a window wider than this is in HU, which images in [0,1] are not


class RandWindowJitterd(RandTransform):
    """Scale CT to [0,1] with a randomly shifted and widened intensity window.

    The default window is in HU, for images that are not scaled yet: a wider window then shows tissue that a scaled
    image has lost. Values outside the window are clipped to 0 or 1. With probability 1 - prob the nominal window is
    used. Raises InputError for an image already scaled to [0,1] if the window is in HU.

    Args:
        keys: keys of the images (C,*S) with any values; all keys get the same random change.
        prob: probability that the window is moved.
        window: nominal low and high, in the unit of the image; (0, 1) for images that are scaled already.
        level: largest shift of the centre, as a fraction of the window's width.
        width: largest change of the width, as a fraction of it.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

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
        """Draw the window; with probability 1 - prob it is the nominal one."""
        low, high = self.window
        centre, width = (low + high) / 2, high - low
        if rng.random() < self.prob:
            centre += rng.uniform(-1, 1) * self.level * width
            width *= 1 + rng.uniform(-1, 1) * self.width
        return {"low": centre - width / 2, "high": centre + width / 2}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Scale the drawn window to [0,1] and clip."""
        scaled = np.array(x, np.float32, order="C")
        to_unit(scaled, params["low"], params["high"])
        return scaled

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Scale the window of each sample to [0,1] and clip."""
        low, high = (batched.column([p[end] for p in drawn], x) for end in ("low", "high"))
        return ((x - low) / (high - low)).clamp(0, 1)

    def check(self, image: np.ndarray, key: object) -> None:
        """Raise InputError for an image in [0,1] with a window in HU, which would make it nearly constant."""
        low, high = float(image.min()), float(image.max())
        if 0 <= low < high <= 1 and self.window[1] - self.window[0] > _WIDE:
            raise InputError(
                f"{type(self).__name__}: {key} has values from {low:g} to {high:g}, which are not HU, but window is "
                f"{self.window}: give the image in HU, or window=(0, 1)"
            )


def build(
    *, prob: float = 1.0, level: float = 0.05, width: float = 0.2, window: tuple[float, float] | None = None
) -> RandWindowJitterd:
    """Window jitter for recipes: it shifts and widens the intensity window with which the data were prepared.

    Args:
        prob: probability that the window is changed.
        level: largest shift of the centre, as a fraction of the window's width.
        width: largest change of the width, as a fraction of it.
        window: must be left out: it is the window of the prepared data.

    Raises InputError if a window is given.

    >>> build(level=0.1).window
    (0.0, 1.0)
    """
    if window is not None:
        raise InputError(
            f"window is {window}, but the jitter uses the window with which the data were prepared: leave it out"
        )
    return RandWindowJitterd(prob=prob, window=(0.0, 1.0), level=level, width=width)
