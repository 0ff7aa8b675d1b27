"""Color jitter: torchvision's ColorJitter, which the published 2D code of DiRA, AdCo and MoCo uses.

Each step is written once, for numpy arrays and torch tensors: x (B,C,*S), with one factor for all samples, or one per
sample in a shape that broadcasts with x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medssl.transforms import batched
from medssl.transforms.arguments import number
from medssl.transforms.base import RandTransform

if TYPE_CHECKING:
    from collections.abc import Callable

    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
STRONGEST = 100.0
_TINY = 1e-12


class RandColorJitterd(RandTransform):
    """Change brightness, contrast, saturation and hue in a random order; clipped to [0,1] after each.

    As torchvision's ColorJitter, with a factor f uniform in [max(0, 1 - s), 1 + s] for each strength s:

        brightness   x <- f x                          (0 stays 0)
        contrast     x <- f x + (1 - f) mean of gray   (over the whole image)
        saturation   x <- f x + (1 - f) gray           (RGB only)
        hue          rotated by a fraction of the color circle, uniform in [-hue, hue]   (RGB only)

    Images of three channels count as RGB, with gray = 0.299 R + 0.587 G + 0.114 B; gray of any other image is the mean
    of its channels, and saturation and hue do not apply. Values stay floats; the published code rounds to 8 bits after
    each step.

    Args:
        keys: keys of the images (C,*S) in [0,1]; all keys get the same random change.
        prob: probability that an image is changed: 0.8 in the published code.
        brightness: strength, 0 or more; at 0 the step is left out, also for the following.
        contrast: strength, 0 or more.
        saturation: strength, 0 or more.
        hue: largest rotation as a fraction of the color circle, up to 0.5.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> jitter = RandColorJitterd("image", brightness=0.4, contrast=0, saturation=0, hue=0).set_random_state(0)
    >>> image = jitter({"image": np.array([[[0.0, 0.5]]])})["image"]
    >>> [[name, factor]] = jitter.drawn["steps"]
    >>> name, bool(0.6 <= factor <= 1.4), bool(np.allclose(image, [[[0.0, 0.5 * factor]]]))
    ('brightness', True, True)
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.brightness = number(self, "brightness", brightness, 0, STRONGEST)
        self.contrast = number(self, "contrast", contrast, 0, STRONGEST)
        self.saturation = number(self, "saturation", saturation, 0, STRONGEST)
        self.hue = number(self, "hue", hue, 0, 0.5)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the factors and the order of the steps."""
        strengths = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        steps = [[name, float(rng.uniform(max(0.0, 1 - s), 1 + s))] for name, s in strengths.items() if s]
        if self.hue:
            steps.append(["hue", float(rng.uniform(-self.hue, self.hue))])
        return {"steps": [steps[i] for i in rng.permutation(len(steps))]}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply the steps in their order."""
        changed = x[None]
        for name, factor in params["steps"]:
            changed = STEPS[name](changed, factor)
        return np.asarray(changed[0])

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Apply the steps of each sample; samples with the same step at the same position are changed together."""
        x = x.clone()
        for place in range(len(drawn[0]["steps"])):  # as many for every sample
            for name, change in STEPS.items():
                at = [i for i, params in enumerate(drawn) if params["steps"][place][0] == name]
                if at:
                    x[at] = change(x[at], batched.column([drawn[i]["steps"][place][1] for i in at], x))
        return x


def _gray(x_BC: Any) -> Any:
    """(B,C,*S) -> (B,1,*S)."""
    if x_BC.shape[1] != 3:
        return x_BC.mean(1)[:, None]
    red, green, blue = (weight * x_BC[:, channel] for channel, weight in enumerate(LUMINANCE))
    return (red + green + blue)[:, None]


def _brightness(x_BC: Any, factor: Any) -> Any:
    return (x_BC * factor).clip(0, 1)


def _contrast(x_BC: Any, factor: Any) -> Any:
    mean = _gray(x_BC).reshape(len(x_BC), -1).mean(1).reshape(-1, *[1] * (x_BC.ndim - 1))
    return (x_BC * factor + mean * (1 - factor)).clip(0, 1)


def _saturation(x_BC: Any, factor: Any) -> Any:
    return (x_BC * factor + _gray(x_BC) * (1 - factor)).clip(0, 1) if x_BC.shape[1] == 3 else x_BC


def _hue(x_BC: Any, turn: Any) -> Any:
    """Rotate the hue of RGB at constant value and saturation.

    Along the hue hexagon each channel is a trapezoid, shifted by a third of the way from the next channel.
    """
    if x_BC.shape[1] != 3:
        return x_BC
    xp: Any = np if isinstance(x_BC, np.ndarray) else torch
    red, green, blue = (x_BC[:, channel] for channel in range(3))
    value = xp.maximum(xp.maximum(red, green), blue)
    spread = value - xp.minimum(xp.minimum(red, green), blue)
    over = spread.clip(_TINY, None)
    of_green, of_blue = (blue - red) / over + 2, (red - green) / over + 4
    hue = xp.where(value == red, (green - blue) / over, xp.where(value == green, of_green, of_blue))  # in sixths
    hue, value, spread = hue[:, None] + 6 * turn, value[:, None], spread[:, None]
    at = [(start + hue) % 6 for start in (5, 3, 1)]
    return xp.concatenate([value - spread * xp.minimum(k, 4 - k).clip(0, 1) for k in at], 1).clip(0, 1)


STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}

build = RandColorJitterd
