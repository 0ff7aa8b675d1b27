"""The resampling pass as MONAI dictionary transforms: one map for every key, each key sampled once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from medssl.transforms.base import RandTransform, checked, like, to_numpy
from medssl.transforms.warp import Fill, Warp, WarpSettings, compose, draw_warp, warp
from medssl.types import InputError, Window

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params

    Mode = Literal["linear", "nearest"]


class RandAffineWarpd(RandTransform):
    """Flip, turn, rotate, zoom and resize, about the centre of the image, in one interpolation.

    `flip`: probability, one or one an axis. `rotate`: degrees, up to, one or (3D) one an axis. `zoom`: in 1 +- zoom.
    `turn`: quarter turns in the plane of the last two axes. `size`: of the output; None keeps it. `mode`: "linear"
    (gives float32) or "nearest" (keeps type and values), one or one a key. `fill`: "edge", "reflect" or a value for
    outside. `spacing`: mm an axis; None takes it from the affine of the first key, or 1. With probability 1 - prob the
    image is only resized. Affines of MetaTensors are moved with the voxels; no inverse is recorded.
    Raises InputError when keys differ in shape.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        flip: float | Sequence[float] = 0.0,
        rotate: float | Sequence[float] = 15.0,
        zoom: float = 0.1,
        turn: bool = False,
        size: Sequence[int] | None = None,
        mode: Mode | Sequence[Mode] = "linear",
        fill: Fill = "edge",
        spacing: Sequence[float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.flip, self.rotate, self.zoom, self.turn = flip, rotate, zoom, turn
        self.size, self.fill, self.spacing = size, fill, spacing
        modes = [mode] * len(self.keys) if isinstance(mode, str) else list(mode)
        if len(modes) != len(self.keys) or not set(modes) <= {"linear", "nearest"}:
            raise InputError(f"{type(self).__name__}: mode is {mode}, give linear or nearest, one or one a key")
        self.modes = dict(zip(self.keys, modes, strict=True))
        self.elastic = 0.0

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], spacing: Sequence[float] | None = None
    ) -> Params | None:
        """Draw a map for an image of `shape` (C,*S) with `spacing` in mm; None if nothing is to be done."""
        n = len(shape) - 1
        size = tuple(self.size or shape[1:])
        if len(size) != n:
            raise InputError(f"{type(self).__name__}: size is {size} but the image has {n} axes, give {n} numbers")
        mm = tuple(map(float, self.spacing or spacing or (1.0,) * n))
        params: Params = {"size": size, "spacing": mm}
        if rng.random() < self.prob:
            drawn = draw_warp(rng, Window((0,) * n, shape[1:]), size, mm, self._settings(n))[1]
            params |= {**drawn, "elastic": np.asarray(drawn["elastic"]).tolist()}  # as JSON keeps it, None too
        elif size == shape[1:]:
            return None
        return params

    def map(self, shape: tuple[int, ...], params: Params) -> Warp:
        """Return the map that `params` stand for on an image of `shape` (C,*S)."""
        elastic = params.get("elastic")
        params = params if elastic is None else {**params, "elastic": np.asarray(elastic)}
        return compose(Window((0,) * (len(shape) - 1), shape[1:]), **params)

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Sample `x` linearly."""
        return warp(x, self.map(x.shape, params), fill=self.fill)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw once for the shape and spacing of the first key, and move every key alike."""
        first = next(iter(self.key_iterator(dict(data))), None)
        if first is None:
            return dict(data)
        image = data[first]
        checked(to_numpy(image), type(self).__name__)
        self.drawn = self.draw(self.generator(), tuple(image.shape), _spacing(image))
        return self.replay(data, self.drawn)

    def replay(self, data: Mapping[Hashable, Any], params: Params | None) -> dict[Hashable, Any]:
        """Move every key by drawn parameters."""
        changed: dict[Hashable, Any] = dict(data)
        keys = list(self.key_iterator(changed))
        shapes = {key: tuple(data[key].shape[1:]) for key in keys}
        if len(set(shapes.values())) > 1:
            raise InputError(f"{type(self).__name__}: the keys have shapes {shapes}, bring them to one grid first")
        if params is None:
            return changed
        for key in keys:
            image = to_numpy(data[key])
            linear = self.modes[key] == "linear"
            image = checked(image, type(self).__name__) if linear else image
            w = self.map(image.shape, params)
            changed[key] = like(warp(image, w, order=1 if linear else 0, fill=self.fill), data[key])
            if isinstance(data[key], MetaTensor):
                changed[key].affine = _moved(data[key].affine, w)
        return changed

    def _settings(self, n: int) -> WarpSettings:
        flip = (self.flip,) * n if isinstance(self.flip, (int, float)) else tuple(self.flip)
        angles = 1 if n == 2 else 3
        rotate = (self.rotate,) * angles if isinstance(self.rotate, (int, float)) else tuple(self.rotate)
        if len(flip) != n or len(rotate) != angles:
            raise InputError(
                f"{type(self).__name__}: flip {flip}, rotate {rotate}: in {n}D give {n} and {angles} numbers"
            )
        return WarpSettings(flip, rotate, self.zoom, self.elastic, self.turn)


class RandElasticWarpd(RandAffineWarpd):
    """An elastic deformation, and by choice all that RandAffineWarpd does, in one interpolation.

    The displacement is a cubic B-spline with four cells an axis; `elastic` is the largest mean displacement, in mm: the
    mean over the image is uniform in [0, elastic], less where it would fold. Affines of MetaTensors follow the affine
    part of the map only, which is where the image lies on average.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 1.0,
        elastic: float = 4.0,
        flip: float | Sequence[float] = 0.0,
        rotate: float | Sequence[float] = 0.0,
        zoom: float = 0.0,
        turn: bool = False,
        size: Sequence[int] | None = None,
        mode: Mode | Sequence[Mode] = "linear",
        fill: Fill = "edge",
        spacing: Sequence[float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, flip, rotate, zoom, turn, size, mode, fill, spacing, allow_missing_keys)
        self.elastic = elastic


def _spacing(image: Any) -> tuple[float, ...] | None:
    if not isinstance(image, MetaTensor):
        return None
    n = image.ndim - 1
    return tuple(torch.linalg.norm(image.affine[:n, :n].double(), dim=0).tolist())


def _moved(affine: torch.Tensor, w: Warp) -> torch.Tensor:
    """The affine of what was sampled at `w`: output voxel -> source voxel -> world."""
    n = len(w.size)
    step = np.eye(len(affine))
    step[:n, :n], step[:n, -1] = w.matrix, w.offset
    return affine @ torch.as_tensor(step, dtype=affine.dtype, device=affine.device)
