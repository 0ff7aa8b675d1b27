"""Geometric MONAI dictionary transforms: one map for all keys, and one interpolation per key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform

from medssl.transforms.arguments import DIMS, Fill, bounded, fill_value, flag, positive, sides
from medssl.transforms.base import RandTransform, like, refuse, to_numpy
from medssl.transforms.modality import HIGHEST
from medssl.transforms.resampling.affine import moved, shared_spacing
from medssl.transforms.resampling.warp import Warp, WarpSettings, compose, draw_warp, warp
from medssl.types import InputError, Window

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.base import Params

    Mode = Literal["linear", "nearest"]


class RandAffineWarpd(RandTransform, InvertibleTransform):
    """Flip, turn, rotate, zoom and resize about the centre of the image, in one interpolation.

    With probability 1 - prob the image is only resized. The affine of a MetaTensor follows the voxels, also in the
    plane of a 2D image. No inverse is recorded: MONAI's `Compose.inverse` raises an error rather than being silently
    wrong. Raises InputError for arguments out of range, for NaN or infinity in any key, and if keys differ in shape, or
    in spacing if none is given.

    Args:
        keys: keys of the images (C,*S); all keys get the same random change.
        prob: probability that the image is moved.
        flip: probability of a flip, one or one per axis.
        rotate: largest angle in degrees, one number or (3D) one per axis.
        zoom: the scale is drawn from 1 - zoom to 1 + zoom; up to 0.9.
        turn: whether to rotate by multiples of 90 degrees in the plane of the last two axes.
        size: of the output, in voxels; None keeps it.
        mode: "linear" (gives float32) or "nearest" (keeps type and values; for labels), one or one per key.
        fill: value outside the image: "edge", "reflect" or a number, one or one per key.
        spacing: mm per axis; None takes it from the affine of the first key that has one, or 1.
        average: whether "linear" averages blocks of voxels when it shrinks by 2 or more, to avoid aliasing.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> mirror = RandAffineWarpd("image", flip=(0.0, 1.0), rotate=0.0, zoom=0.0).set_random_state(0)
    >>> mirror({"image": np.array([[[1.0, 2.0, 3.0]]])})["image"].tolist()
    [[[3.0, 2.0, 1.0]]]
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
        fill: Fill | Sequence[Fill] = "edge",
        spacing: Sequence[float] | None = None,
        average: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        name = type(self).__name__
        self.flip = bounded(f"{name}: flip", flip, HIGHEST["flip"], DIMS)
        self.rotate = bounded(f"{name}: rotate", rotate, HIGHEST["rotate"], (1, 3))
        (self.zoom,) = bounded(f"{name}: zoom", zoom, HIGHEST["zoom"])
        self.size = None if size is None else sides(f"{name}: size", size)
        self.spacing = None if spacing is None else positive(f"{name}: spacing", spacing)
        self.turn, self.average = flag(self, "turn", turn), flag(self, "average", average)
        self.elastic = 0.0
        self.modes: dict[Hashable, Mode] = self._by_key("mode", mode)
        if not set(self.modes.values()) <= {"linear", "nearest"}:
            raise InputError(f"{name}: mode is {mode}, give linear or nearest, one or one per key")
        self.fills = {k: fill_value(f"{name}: fill", f) for k, f in self._by_key("fill", fill).items()}

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], spacing: Sequence[float] | None = None
    ) -> Params | None:
        """Draw a map for an image of `shape` (C,*S) with `spacing` in mm; None if the image stays as it is."""
        n = len(shape) - 1
        size = self._size(n) if self.size else tuple(shape[1:])
        mm = self._mm(n, spacing)
        params: Params = {"size": size, "spacing": mm}
        if rng.random() < self.prob:
            params |= self._moves(rng, Window((0,) * n, tuple(shape[1:])), size, mm)
        elif size == tuple(shape[1:]):
            return None
        return params

    def map(self, shape: tuple[int, ...], params: Params) -> Warp:
        """The map of an image of `shape` (C,*S) for the parameters `params`."""
        elastic = params.get("elastic")
        params = params if elastic is None else {**params, "elastic": np.asarray(elastic)}
        window = Window(*params.get("window", ((0,) * (len(shape) - 1), shape[1:])))
        return compose(**{**params, "window": window})

    def _moves(self, rng: np.random.Generator, window: Window, size: tuple[int, ...], mm: tuple[float, ...]) -> Params:
        """Draw the geometry of a view of `window`, in a form that JSON can store."""
        drawn = draw_warp(rng, window, size, mm, self._settings(len(size)))[1]
        return {**drawn, "elastic": np.asarray(drawn["elastic"]).tolist()}  # None stays None

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Sample `x` linearly, with the fill of the first key."""
        return warp(x, self.map(x.shape, params), fill=self.fills[self.keys[0]], average=self.average)

    def drawn_for(self, data: Mapping[Hashable, Any]) -> Params | None:
        """Draw parameters for the images of the dictionary `data`; None also if it has none of the keys."""
        grid = self._grid(data)
        return None if grid is None else self.draw(self.generator(), *grid)

    def _grid(self, data: Mapping[Hashable, Any]) -> tuple[tuple[int, ...], Sequence[float] | None] | None:
        """Shape (C,*S) and spacing of the grid that all keys share; None if `data` has none of the keys."""
        images = self._images(data)
        if not images:
            return None
        mm = None if self.spacing else shared_spacing(images, type(self).__name__)
        return tuple(next(iter(images.values())).shape), mm

    def replay(self, data: Mapping[Hashable, Any], params: Params | None) -> dict[Hashable, Any]:
        """Apply drawn parameters to all keys."""
        changed = dict(data)
        for key, image in self._images(data).items():
            array, linear = to_numpy(image), self.modes[key] == "linear"
            refuse(array, f"{type(self).__name__}: {key}")
            if params is not None:
                changed[key] = self._moved(key, image, array, self.map(array.shape, params))
            elif linear and array.dtype != np.float32:  # the type does not depend on the draw
                changed[key] = like(array.astype(np.float32), image)
        return changed

    def inverse(self, data: Any) -> Any:
        """Raise InputError: no inverse is recorded, and MONAI would skip this transform and misplace the image.

        With prob=0 and no `size` the image never moves, and `data` is returned.
        """
        if self.prob == 0 and self.size is None:
            return data
        raise InputError(f"{type(self).__name__} cannot be inverted: leave it out of the transforms to invert")

    def _images(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The images of the keys, which must have equal shapes; missing keys are skipped if that is allowed."""
        return {key: data[key] for key in self._shapes(data)}

    def _moved(self, key: Hashable, image: Any, array: np.ndarray, w: Warp) -> Any:
        order: Literal[0, 1] = 1 if self.modes[key] == "linear" else 0
        kind = np.dtype(np.float32) if order == 1 else array.dtype
        fill = fill_value(f"{type(self).__name__}: fill of {key}", self.fills[key], kind)
        result = like(warp(array, w, order=order, fill=fill, average=self.average), image)
        if isinstance(image, MetaTensor):
            result.affine = moved(image.affine, w)
        return result

    def _size(self, n: int) -> tuple[int, ...]:
        if self.size is None or len(self.size) != n:
            raise InputError(
                f"{type(self).__name__}: size is {self.size}, but the image has {n} axes: give {n} numbers"
            )
        return self.size

    def _mm(self, n: int, spacing: Sequence[float] | None) -> tuple[float, ...]:
        return positive(f"{type(self).__name__}: spacing", self.spacing or spacing or (1.0,) * n, (n,))

    def _settings(self, n: int) -> WarpSettings:
        angles = 1 if n == 2 else 3
        flip = self.flip * n if len(self.flip) == 1 else self.flip
        rotate = self.rotate * angles if len(self.rotate) == 1 else self.rotate
        if len(flip) != n or len(rotate) != angles:
            raise InputError(
                f"{type(self).__name__}: flip is {flip} and rotate is {rotate}: in {n}D give {n} and {angles} numbers"
            )
        return WarpSettings(flip, rotate, self.zoom, self.elastic, self.turn)

    def _by_key(self, what: str, value: Any) -> dict[Hashable, Any]:
        """One value for all keys, or one for each."""
        values = list(value) if isinstance(value, (list, tuple)) else [value] * len(self.keys)
        if len(values) != len(self.keys):
            raise InputError(f"{type(self).__name__}: {what} is {value}, give one, or one for each of {self.keys}")
        return dict(zip(self.keys, values, strict=True))


class RandElasticWarpd(RandAffineWarpd):
    """An elastic deformation, optionally with all changes of RandAffineWarpd, in one interpolation.

    The displacement is a cubic B-spline with four cells along the longest side. Its mean length over the image is
    uniform in [0, elastic], but less if the map would fold, which happens above about 3% of the longest side (2 mm on
    64 mm); `drawn["elastic_mm"]` is the mean that was reached. A volume thinner than a quarter of its longest side is
    deformed in plane only. The affine of a MetaTensor follows the affine part of the map, which is the average
    position of the image.

    Args:
        keys: keys of the images (C,*S); all keys get the same random change.
        prob: probability that the image is moved.
        elastic: largest mean displacement, in mm.
        flip, rotate, zoom, turn, size, mode, fill, spacing, average: as in RandAffineWarpd.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> warp = RandElasticWarpd(["image", "label"], elastic=1.0, mode=("linear", "nearest")).set_random_state(0)
    >>> label = np.zeros((1, 32, 32), np.uint8)
    >>> label[:, 8:24, 8:24] = 2
    >>> np.unique(warp({"image": label / 2, "label": label})["label"]).tolist()
    [0, 2]
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
        fill: Fill | Sequence[Fill] = "edge",
        spacing: Sequence[float] | None = None,
        average: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, flip, rotate, zoom, turn, size, mode, fill, spacing, average, allow_missing_keys)
        (self.elastic,) = bounded(f"{type(self).__name__}: elastic", elastic, HIGHEST["elastic"])
