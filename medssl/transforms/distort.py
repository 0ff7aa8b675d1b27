"""Which corruption a view gets: the published mixtures, made of the corruptions of `corrupt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.corrupt import Corruption, RandCutoutd, RandInpaintd, RandMaskBlocksd, RandOutpaintd
from medssl.transforms.intensity import RandBezierIntensityd
from medssl.transforms.shuffle import RandLocalShuffled, RandPatchSwapd

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params


class RandRemapd(Corruption):
    """A random Bezier tone curve as a corruption: every voxel counts as changed."""

    def __init__(
        self, keys: KeysCollection = "image", prob: float = 1.0, invert: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.curve = RandBezierIntensityd(keys, invert=invert)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the curve."""
        return self.curve.parameters(rng, shape)

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Map through the curve."""
        return self.curve.change(x, params)

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark everything."""
        changed[...] = True


class RandOneOfd(Corruption):
    """One of several corruptions, each with its probability; none with what is left."""

    def __init__(
        self,
        choices: list[tuple[float, Corruption]],
        keys: KeysCollection = "image",
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.limits = np.cumsum([p for p, _ in choices]).tolist()
        self.choices = [c for _, c in choices]

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params | None:
        """Draw which, and its own parameters; None if none."""
        r = rng.random() / self.prob if self.prob else 1.0
        for i, limit in enumerate(self.limits):
            if r <= limit:
                return {"choice": i, "params": self.choices[i].draw(rng, shape)}
        return None

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply the one."""
        return self.choices[params["choice"]].apply(x, params["params"])

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark what the one marks."""
        changed |= self.choices[params["choice"]].mask((1, *changed.shape), params["params"])[0]


class RandChaind(Corruption):
    """Several corruptions one after the other, each with its own probability."""

    def __init__(
        self,
        steps: list[Corruption],
        keys: KeysCollection = "image",
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.steps = steps

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw each."""
        return {"steps": [step.draw(rng, shape) for step in self.steps]}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply each."""
        for step, drawn in zip(self.steps, params["steps"], strict=True):
            x = step.apply(x, drawn)
        return x

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark what any marks."""
        for step, drawn in zip(self.steps, params["steps"], strict=True):
            changed |= step.mask((1, *changed.shape), drawn)[0]


def dira(*, spatial_dims: int, prob: float = 1.0) -> Corruption:
    """DiRA's distortion (Haghighi et al. 2022, released code): r uniform in [0,1).

    Inner cut-out (r <= 0.30; up to 10 zero blocks, sides 10..70 of 224 pixels), outer cut-out (to 0.35; all zero but up
    to 10 windows of side 154..174), patch swap (to 0.65; 10 swaps, sides 10..15), else none. In 2D at 224 the numbers
    are the release's; other sizes scale them. In 3D, never released, parts of a side are raised to 2/3, so that the
    smallest and the largest block take the part of the volume that they take of the area in 2D.
    """

    def part(low: int, high: int) -> tuple[float, float]:
        return (low / 224) ** (2 / spatial_dims), (high / 224) ** (2 / spatial_dims)

    return RandOneOfd(
        [
            (0.30, RandCutoutd(side=part(10, 70))),
            (0.05, RandOutpaintd(blocks=10, side=part(154, 174), fill=0.0)),
            (0.30, RandPatchSwapd(side=part(10, 15))),
        ],
        prob=prob,
    )


def transvw(*, spatial_dims: int, prob: float = 1.0, blocks: int = 100) -> Corruption:
    """TransVW's perturbations (Haghighi et al. 2021, released code): one of four, a quarter each.

    Local shuffling (`blocks`: 5 in the PyTorch release, 100 in the Keras one), a Bezier tone curve (inverted half of
    the time), in-painting, out-painting. Its elastic deformation is geometry, and so belongs to the warp.
    """
    four = [RandLocalShuffled(blocks=blocks), RandRemapd(), RandInpaintd(), RandOutpaintd()]
    return RandOneOfd([(0.25, corruption) for corruption in four], prob=prob)


def genesis(*, spatial_dims: int, prob: float = 1.0, blocks: int = 10_000) -> Corruption:
    """Models Genesis (Zhou et al. 2021, released code): shuffling 0.5, Bezier curve 0.9, painting 0.9, in this order.

    Painting is out-painting in 0.8 and in-painting in 0.2 of the cases; they exclude each other. Out-painting leaves a
    window, and with 0.95 each up to four more; in-painting erases up to five blocks, with 0.95 each.
    """
    out, inner = RandOutpaintd(blocks=5, stop=0.05), RandInpaintd(prob=0.95, blocks=5, stop=0.05)
    painting = RandOneOfd([(0.8, out), (0.2, inner)], prob=0.9)
    return RandChaind([RandLocalShuffled(prob=0.5, blocks=blocks), RandRemapd(prob=0.9), painting], prob=prob)


def mask(*, spatial_dims: int, prob: float = 1.0, block: int = 16, ratio: float = 0.6) -> Corruption:
    """Block masks as in masked auto-encoders (He et al. 2022): `ratio` of the blocks, `block` voxels a side.

    0.6 is SparK's ratio (Tian et al. 2023), for convolutions; transformers take 0.75.
    """
    return RandMaskBlocksd(prob=prob, block=block, ratio=ratio)
