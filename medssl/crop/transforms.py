"""The crop policies as MONAI dictionary transforms: one window for all keys, cropped and resized in one interpolation.

They work in any `monai.transforms.Compose`, with arrays, tensors and MetaTensors (C,Y,X) or (C,Z,Y,X).
"""

from __future__ import annotations

import copy
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
    from medssl.types import CropPolicy


class RandResizedCropd(RandElasticWarpd):
    """Crop a window of random volume and aspect ratio and resize it to `size`, in one interpolation.

    The crop can be flipped, rotated, zoomed and deformed in the same interpolation. Sizes are drawn in mm if a spacing
    is known. The affine of a MetaTensor follows the voxels; no inverse is recorded. Raises InputError if keys differ in
    shape or spacing, for NaN in any key, and for arguments out of range.

    Args:
        keys: keys of the images (C,*S); all keys get the same random change.
        size: of the output, in voxels.
        scale: smallest and largest share of the area (2D) or volume (3D).
        ratio: smallest and largest ratio of the sides.
        mode: "linear" (gives float32) or "nearest" (keeps type and values; for labels), one or one per key.
        spacing: mm per axis; None takes it from the affine of the first key that has one, or 1.
        average: whether "linear" averages blocks of voxels when it shrinks by 2 or more, to avoid aliasing.
        flip, rotate, zoom, turn, elastic, fill: as in RandElasticWarpd, about the centre of the window.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

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
        """Draw the window of an image of `shape` (C,*S) with `spacing` in mm, and its flip, rotation and so on."""
        size, mm = self._size(len(shape) - 1), self._mm(len(shape) - 1, spacing)
        window = self.policy.window(tuple(shape[1:]), 0, rng, mm)
        return {"window": window, "size": size, "spacing": mm, **self._moves(rng, window, size, mm)}


class ContrastiveCropd(RandResizedCropd):
    """Crop a window centred in a box around the region that a network responds to, and resize it to `size`.

    ContrastiveCrop, Peng et al., CVPR 2022. The centre follows Beta(alpha, alpha) over the sample's box: rarely in its
    middle. A box is 2n numbers, low then high corner in index order, as fractions of the image's shape, for example
    from `medssl.crop.heat.box_from_map`. The transform stores nothing of a sample: threads and processes may share it,
    and a copy uses the same `box_source` as the original. Raises InputError if a box is missing or malformed.

    Args:
        keys: keys of the images (C,*S); all keys get the same random change.
        size: of the output, in voxels.
        box_source: where boxes come from: a crop policy (its `box` of `data[index_key]`), a function of the dictionary,
            or anything that can be indexed by `data[index_key]`, such as a tensor (samples, 2n) in shared memory that
            is updated while workers run. None: each sample has its own box under `box_key`.
        index_key: key of the sample's number in the dictionary.
        alpha: of the Beta distribution of the centre: below 1 the middle is rare, 1 is uniform.
        scale: smallest and largest share of the area (2D) or volume (3D).
        ratio: smallest and largest ratio of the sides.
        mode: "linear" (gives float32) or "nearest" (keeps type and values; for labels), one or one per key.
        spacing: mm per axis; None takes it from the affine of the first key that has one, or 1.
        average: whether "linear" averages blocks of voxels when it shrinks by 2 or more, to avoid aliasing.
        flip, rotate, zoom, turn, elastic, fill: as in RandElasticWarpd, about the centre of the window.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.
        box_key: key of the sample's own box in the dictionary, used without a `box_source`.

    >>> crop = ContrastiveCropd("image", size=(16, 16)).set_random_state(0)
    >>> crop({"image": np.ones((1, 40, 50)), "box": (0.5, 0.5, 1, 1)})["image"].shape
    (1, 16, 16)
    >>> crop = ContrastiveCropd("image", size=(16, 16), box_source={7: (0.5, 0.5, 1, 1)}).set_random_state(0)
    >>> crop({"image": np.ones((1, 40, 50)), "index": 7})["image"].shape
    (1, 16, 16)
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        size: Sequence[int] = (224, 224),
        box_source: CropPolicy | Callable[[Mapping[Hashable, Any]], Any] | Any = None,
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
        box_key: str = "box",
    ) -> None:
        moves = flip, rotate, zoom, turn, elastic, fill
        super().__init__(keys, size, scale, ratio, mode, spacing, average, *moves, allow_missing_keys)
        self.box_source: Any = box_source
        self.index_key, self.box_key, self.alpha = index_key, box_key, number(self, "alpha", alpha, 1e-3, 1e3)

    def __deepcopy__(self, memo: dict[int, Any]) -> ContrastiveCropd:
        """A copy with the same `box_source`, whose boxes may be updated at any time."""
        made = type(self).__new__(type(self))
        memo |= {id(self): made, id(self.box_source): self.box_source}
        made.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return made

    def drawn_for(self, data: Mapping[Hashable, Any]) -> Params | None:
        """Look up the sample's box, then draw a crop for the dictionary `data`."""
        grid, box = self._grid(data), self.box(data)
        return None if grid is None else self.draw(self.generator(), *grid, box=box)

    def draw(
        self,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        spacing: Sequence[float] | None = None,
        box: Sequence[float] | None = None,
    ) -> Params:
        """Draw the window of an image of `shape` (C,*S) with `spacing` in mm, centred in `box`; None: anywhere."""
        size, mm = self._size(len(shape) - 1), self._mm(len(shape) - 1, spacing)
        if box is not None and len(box) != 2 * (len(shape) - 1):
            raise InputError(
                f"ContrastiveCropd: the box {list(box)} does not fit an image of shape {tuple(shape[1:])}: "
                f"give {2 * (len(shape) - 1)} numbers"
            )
        if box is None:
            window = self.policy.window(tuple(shape[1:]), 0, rng, mm)
        else:
            window = contrastive_window(tuple(shape[1:]), box, self.alpha, self.policy, rng, mm)
        return {"window": window, "size": size, "spacing": mm, **self._moves(rng, window, size, mm)}

    def box(self, data: Mapping[Hashable, Any]) -> list[float] | None:
        """The box of the sample `data`; None if the policy has none yet. Raises InputError for a malformed box."""
        box = self._given(data)
        if box is None and hasattr(self.box_source, "box"):
            return None
        try:
            numbers = np.ravel(to_numpy(box).astype(np.float64)).tolist()
        except (TypeError, ValueError) as error:
            raise InputError(f"ContrastiveCropd: {box} is not a box: give numbers, low then high corner") from error
        n = len(numbers) // 2
        if any(not 0 <= low <= high <= 1 for low, high in zip(numbers[:n], numbers[n:], strict=False)):
            raise InputError(
                f"ContrastiveCropd: {numbers} is not a box: give fractions of the image's shape, 0 <= low <= high <= 1"
            )
        return numbers

    def _given(self, data: Mapping[Hashable, Any]) -> Any:
        """The box as the sample or `box_source` gives it."""
        key = self.box_key if self.box_source is None else self.index_key
        if not callable(self.box_source) and key not in data:
            raise InputError(
                f"ContrastiveCropd: there is no key '{key}' with "
                + ("a box: set box_key, or give a box_source" if key == self.box_key else "an index: set index_key")
            )
        if self.box_source is None:
            return data[key]
        return self.box_source(data) if callable(self.box_source) else self._indexed(data[key])

    def _indexed(self, index: Any) -> Any:
        try:
            index = index.item() if hasattr(index, "item") else index
            if not isinstance(self.box_source, Mapping) and index < 0:
                raise LookupError  # Python would count from the end and return the box of another image
            return self.box_source.box(index) if hasattr(self.box_source, "box") else self.box_source[index]
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(
                f"ContrastiveCropd: box_source has no box for {self.index_key} {index}: give one for every image"
            ) from error
