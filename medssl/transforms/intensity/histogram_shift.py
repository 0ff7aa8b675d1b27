"""Histogram shift: a random piecewise linear tone curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.arguments import count, number, span
from medssl.transforms.intensity.curve import Curve

if TYPE_CHECKING:
    from collections.abc import Callable

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params

_MOST = 512  # knots


class RandHistogramShiftd(Curve):
    """A rising piecewise linear tone curve: evenly spaced knots, each moved randomly between its neighbours.

    Args:
        keys: keys of the images (C,*S) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed.
        points: smallest and largest number of knots.
        strength: how far a knot may move, as a fraction of the way to its neighbour.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> shift = RandHistogramShiftd("image").set_random_state(0)
    >>> shifted = shift({"image": np.linspace(0, 1, 5, dtype=np.float32).reshape(1, 1, 5)})["image"]
    >>> bool((np.diff(shifted) > 0).all()), shifted[0, 0, [0, -1]].tolist()
    (True, [0.0, 1.0])
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        points: tuple[int, int] = (5, 10),
        strength: float = 0.8,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        span(self, "points", points, 3, _MOST)
        self.points = count(self, "points", points[0], 3), count(self, "points", points[1], 3)
        self.strength = number(self, "strength", strength, 0, 1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the heights of the knots, from dark to bright."""
        heights = np.linspace(0, 1, int(rng.integers(self.points[0], self.points[1] + 1)))
        for i in range(1, len(heights) - 1):
            moved = rng.uniform(heights[i - 1], heights[i + 1])
            heights[i] += self.strength * (moved - heights[i])
        return {"heights": heights.tolist()}

    def curve(self, params: Params) -> Callable[[np.ndarray], np.ndarray]:
        """Interpolate between the knots."""
        heights = params["heights"]
        knots = np.linspace(0, 1, len(heights))
        return lambda v: np.interp(v, knots, heights)


build = RandHistogramShiftd
