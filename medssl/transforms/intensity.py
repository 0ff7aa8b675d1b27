"""Changes of intensity that keep the geometry. Images are (C,*S) float32 in [0,1], and stay there.

All channels of an image share one draw. Curves (gamma, Bezier, histogram shift) keep a constant image constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.arguments import count, number, span
from medssl.transforms.base import RandTransform
from medssl.transforms.filters import blur, power, tone
from medssl.transforms.noise import add_noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params

_PIECES = 512  # points at which a Bezier curve is evaluated


class Curve(RandTransform):
    """A change by a tone curve."""

    def curve(self, params: Params) -> Callable[[np.ndarray], np.ndarray]:
        """Return the drawn curve, [0,1] -> [0,1]."""
        raise NotImplementedError

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Map through the curve."""
        return tone(x, self.curve(params))


class RandGammad(RandTransform):
    """x -> x**gamma, with log(gamma) uniform between the logs of `gamma`, so that 1/2 is as likely as 2."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        gamma: tuple[float, float] = (0.7, 1.5),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.gamma = span(self, "gamma", gamma, 0.01, 100)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the exponent."""
        return {"gamma": float(np.exp(rng.uniform(*np.log(self.gamma))))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Raise to the exponent."""
        return power(x, params["gamma"])


class RandBezierIntensityd(Curve):
    """A random cubic Bezier tone curve from (0,0) to (1,1), or, with probability `invert`, from (0,1) to (1,0).

    Models Genesis (Zhou et al. 2021, section 3.2) and TransVW: two inner control points uniform in the unit square. Not
    inverted, x and y are both sorted, which makes the curve rise; inverted, x alone is sorted and y is run backwards.
    `strength` is the part of the way from the identity to that curve: 1 as published, less for gentle curves.
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


class RandHistogramShiftd(Curve):
    """A rising piecewise linear tone curve: evenly spaced knots, each inner one moved between its neighbours.

    `points` bounds the number of knots; `strength` is the part of the way to a neighbour that a knot may move.
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
        span(self, "points", points, 3, _PIECES)
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


class RandBiasFieldd(RandTransform):
    """Multiply by exp of a smooth polynomial of all axes, as an MR receive coil does; cut to [0,1].

    A factor for each voxel: a constant image takes on the shape of the field, and zero stays zero. The logarithm is a
    sum of Legendre polynomials of total degree up to `degree`, scaled so that its largest absolute value over the image
    is uniform in [0, strength].
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        strength: float = 0.5,
        degree: int = 3,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.strength = number(self, "strength", strength, 0, 10)
        self.degree = count(self, "degree", degree, 1, 10)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw polynomial coefficients (degree+1 an axis) and the strength."""
        n = len(shape) - 1
        coefficients = rng.uniform(-1, 1, [self.degree + 1] * n)
        total = np.indices(coefficients.shape).sum(0)
        coefficients[(total > self.degree) | (total == 0)] = 0
        return {"coefficients": coefficients.tolist(), "strength": float(rng.uniform(0, self.strength))}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Multiply by the field."""
        field = np.asarray(params["coefficients"], np.float32)
        for size in reversed(x.shape[1:]):
            basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, size), field.shape[-1] - 1)
            field = np.tensordot(basis.astype(np.float32), field, (1, -1))
        field *= params["strength"] / max(float(np.abs(field).max()), 1e-6)
        changed = x * np.exp(field, out=field)
        return np.clip(changed, 0, 1, out=changed)


class RandBlurNoised(RandTransform):
    """Gaussian blur (probability `blur`), then fresh Gaussian noise (probability `noise`), cut to [0,1].

    `sigma` (voxels) and `std` are ranges drawn from uniformly. The noise has its own drawn seed, so that it replays.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        blur: float = 0.5,
        sigma: tuple[float, float] = (0.3, 1.0),
        noise: float = 0.5,
        std: tuple[float, float] = (0.0, 0.05),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.blur, self.noise = number(self, "blur", blur, 0, 1), number(self, "noise", noise, 0, 1)
        self.sigma, self.std = span(self, "sigma", sigma, 0, 100), span(self, "std", std, 0, 1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw sigma, the noise's standard deviation (0: none) and its seed."""
        blurred, noisy = rng.random(2) < (self.blur, self.noise)
        return {
            "sigma": float(rng.uniform(*self.sigma)) if blurred else 0.0,
            "std": float(rng.uniform(*self.std)) if noisy else 0.0,
            "seed": int(rng.integers(2**63)),
        }

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Blur, then add noise."""
        changed = blur(x, params["sigma"]) if params["sigma"] > 0 else x
        if params["std"] > 0:
            changed = add_noise(changed, params["std"], params["seed"])
        return changed
