"""Smooth random tone curves: cubic Bezier curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.arguments import number
from medssl.transforms.intensity.curve import Curve

if TYPE_CHECKING:
    from collections.abc import Callable

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params

_PIECES = 512  # points at which a curve is evaluated


class RandBezierIntensityd(Curve):
    """A random cubic Bezier tone curve from (0,0) to (1,1), or, with probability `invert`, from (0,1) to (1,0).

    Models Genesis (Zhou et al. 2021, section 3.2) and TransVW: the two inner control points are uniform in the unit
    square. For a rising curve, x and y are both sorted; for an inverted one, x is sorted and y reversed.

    Args:
        keys: keys of the images (C,*S) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed.
        invert: probability that bright and dark are exchanged.
        strength: 1 is the published curve, 0 the identity, in between a mixture of both.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> curve = RandBezierIntensityd("image", invert=1.0).set_random_state(0)
    >>> image = np.array([[[0.0, 1.0]]], np.float32)
    >>> curve({"image": image})["image"].round(2).tolist()
    [[[1.0, 0.0]]]
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        invert: float = 0.0,
        strength: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.invert, self.strength = number(self, "invert", invert, 0, 1), number(self, "strength", strength, 0, 1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the two inner control points (x,y) and the direction."""
        return {"points": rng.random((2, 2)).tolist(), "invert": bool(rng.random() < self.invert)}

    def curve(self, params: Params) -> Callable[[np.ndarray], np.ndarray]:
        """Interpolate between points of the Bezier curve."""
        t = np.linspace(0, 1, _PIECES)[:, None]
        first, second = np.asarray(params["points"])
        points = 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second + t**3
        xs = np.sort(points[:, 0])
        ys = points[::-1, 1] if params["invert"] else np.sort(points[:, 1])
        return lambda v: v + self.strength * (np.interp(v, xs, ys) - v)


build = RandBezierIntensityd
