"""The crop policies as MONAI dictionary transforms: one window for every key, cropped and resized in one sampling.

They work in any `monai.transforms.Compose`, with arrays, tensors and MetaTensors (C,Y,X) or (C,Z,Y,X).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.crop.contrastive import contrastive_window
from medssl.crop.geometry import check_range
from medssl.crop.random import RandomCrop
from medssl.transforms.arguments import number
from medssl.transforms.base import to_numpy
from medssl.transforms.spatial import RandElasticWarpd
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from monai.config.type_definitions import KeysCollection

    from medssl.transforms.arguments import Fill
    from medssl.transforms.base import Params
    from medssl.transforms.spatial import Mode
    from medssl.types import Window


class RandResizedCropd(RandElasticWarpd):
    """Crop a window of random volume and aspect, move it if asked to, and resize it to `size`, in one interpolation.

    `scale` is the share of the area (2D) or volume (3D), `ratio` bounds the aspect; in mm where a spacing is known.
    `mode`: "linear" (gives float32) or "nearest" (keeps type and values; for labels), one or one a key. `spacing`: mm
    an axis; None takes it from the affine of the first key that has one, or 1. `average`: where two voxels or more
    become one, "linear" samples means of blocks. Affines of MetaTensors are moved with the voxels; no inverse is
    recorded. `flip`, `rotate`, `zoom`, `turn`, `elastic` and `fill` are those of RandElasticWarpd, about the centre of
    the window, and by default nothing. Raises InputError when keys differ in shape or spacing, for NaN in any key, or
    for ranges that are none.

    >>> crop = RandResizedCropd(["image", "label"], size=(16, 16), mode=("linear", "nearest")).set_random_state(0)
    >>> crop({"image": np.ones((1, 40, 50)), "label": np.ones((1, 40, 50), np.uint8)})["label"].shape
    (1, 16, 16)
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        size: Sequence[int] = (224, 224),
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        mode: Mode | Sequence[Mode] = "linear",
        spacing: Sequence[float] | None = None,
        average: bool = True,
        flip: float | Sequence[float] = 0.0,
        rotate: float | Sequence[float] = 0.0,
        zoom: float = 0.0,
        turn: bool = False,
        elastic: float = 0.0,
        fill: Fill | Sequence[Fill] = "edge",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys, 1.0, elastic, flip, rotate, zoom, turn, size, mode, fill, spacing, average, allow_missing_keys
        )
        check_range(f"{type(self).__name__}: scale", scale, largest=1.0)
        self.policy = RandomCrop(scale=scale, ratio=ratio)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], spacing: Sequence[float] | None = None) -> Params:
        """Draw the window of an image of `shape` (C,*S) with `spacing` in mm, and how it is moved."""
        size, mm = self._size(len(shape) - 1), self._mm(len(shape) - 1, spacing)
        window = self.window(tuple(shape[1:]), rng, mm)
        return {"window": window, "size": size, "spacing": mm, **self._moves(rng, window, size, mm)}

    def window(self, shape: tuple[int, ...], rng: np.random.Generator, spacing: tuple[float, ...]) -> Window:
        """Draw where to look in `shape` (*S)."""
        return self.policy.window(shape, 0, rng, spacing)


class ContrastiveCropd(RandResizedCropd):
    """Crop with the centre in a box around what a network responds to, rarely in its middle, and resize to `size`.

    Peng et al., CVPR 2022. `box_source` gives the box, 2n shares of the shape, low then high corner, index order
    (what `medssl.crop.heat.box_from_map` makes): a callable that takes the dictionary, or anything indexed by
    `data[index_key]`, as a tensor (samples, 2n) in shared memory that is renewed while workers run. The centre is
    Beta(alpha, alpha) over the box. Otherwise as RandResizedCropd. Raises InputError for a box that is none.

    >>> crop = ContrastiveCropd("image", size=(16, 16), box_source={7: (0.5, 0.5, 1, 1)}).set_random_state(0)
    >>> crop({"image": np.ones((1, 40, 50)), "index": 7})["image"].shape
    (1, 16, 16)
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        size: Sequence[int] = (224, 224),
        box_source: Callable[[Mapping[Hashable, Any]], Any] | Any = None,
        index_key: str = "index",
        alpha: float = 0.6,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        mode: Mode | Sequence[Mode] = "linear",
        spacing: Sequence[float] | None = None,
        average: bool = True,
        flip: float | Sequence[float] = 0.0,
        rotate: float | Sequence[float] = 0.0,
        zoom: float = 0.0,
        turn: bool = False,
        elastic: float = 0.0,
        fill: Fill | Sequence[Fill] = "edge",
        allow_missing_keys: bool = False,
    ) -> None:
        moves = flip, rotate, zoom, turn, elastic, fill
        super().__init__(keys, size, scale, ratio, mode, spacing, average, *moves, allow_missing_keys)
        if box_source is None:
            raise InputError("ContrastiveCropd: box_source is None, give boxes, or a callable that gives them")
        self.box_source: Any = box_source
        self.index_key, self.alpha = index_key, number(self, "alpha", alpha, 1e-3, 1e3)
        self.box: list[float] = []

    def randomize(self, data: Any = None) -> None:
        """Look the box up, then draw for the dictionary `data`."""
        if isinstance(data, Mapping):
            self.box = self._look_up(data)
        super().randomize(data)

    def window(self, shape: tuple[int, ...], rng: np.random.Generator, spacing: tuple[float, ...]) -> Window:
        """Draw where to look in `shape` (*S), centred in `box`."""
        if len(self.box) != 2 * len(shape):
            raise InputError(f"ContrastiveCropd: the box {self.box} has no two corners of an image of shape {shape}")
        return contrastive_window(shape, self.box, self.alpha, self.policy, rng, spacing)

    def _look_up(self, data: Mapping[Hashable, Any]) -> list[float]:
        box = self.box_source(data) if callable(self.box_source) else self._indexed(data)
        try:
            numbers = np.ravel(to_numpy(box).astype(np.float64)).tolist()
        except (TypeError, ValueError) as error:
            raise InputError(f"ContrastiveCropd: the box {box} is none: give numbers, low then high corner") from error
        n = len(numbers) // 2
        if any(not 0 <= low <= high <= 1 for low, high in zip(numbers[:n], numbers[n:], strict=False)):
            raise InputError(
                f"ContrastiveCropd: the box {numbers} is none: give shares of the shape, 0 <= low <= high <= 1"
            )
        return numbers

    def _indexed(self, data: Mapping[Hashable, Any]) -> Any:
        if self.index_key not in data:
            raise InputError(
                f"ContrastiveCropd: there is no key '{self.index_key}' to look the box up by: set index_key"
            )
        index = data[self.index_key]
        try:
            index = index.item() if hasattr(index, "item") else index
            if not isinstance(self.box_source, Mapping) and index < 0:
                raise LookupError  # it would be another image's, counted from the end
            return self.box_source[index]
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(
                f"ContrastiveCropd: box_source has no box for {self.index_key} {index}: give one for every image"
            ) from error
