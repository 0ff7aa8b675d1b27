"""CT seen through a slightly other window: the one change of intensity that takes values not yet cut to [0,1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.arguments import number, refused, span
from medssl.transforms.base import ANY, RandTransform
from medssl.transforms.filters import to_unit
from medssl.types import InputError

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params

_WIDE = 20  # a window wider than this is in HU, and no image that lies in [0,1] is


class RandWindowJitterd(RandTransform):
    """Look at CT through a slightly other window: `window` (low, high) in the image's units, moved and widened.

    The centre moves by up to `level`, and the width changes by up to `width`, both as parts of the window's width. The
    default window is in HU, as are CT images that nothing has scaled yet: a wider draw then shows tissue that a scaled
    image has lost. Views are made so: there the window is (0, 1), in units of the case's own window, and values beyond
    it are still there. What comes out is in [0,1]; values outside the drawn window are cut to 0 or 1, never wrapped.
    Raises InputError for an image that was scaled to [0,1] already when the window is in HU.
    """

    bounds = ANY

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

    def check(self, image: np.ndarray, key: object) -> None:
        """Refuse an image scaled to [0,1] under a window in HU, which would flatten it to one gray."""
        low, high = float(image.min()), float(image.max())
        if 0 <= low < high <= 1 and self.window[1] - self.window[0] > _WIDE:
            raise InputError(
                f"{type(self).__name__}: {key} has values from {low:g} to {high:g}, which are no HU, but window is "
                f"{self.window}: give the image in HU, or window=(0, 1)"
            )
