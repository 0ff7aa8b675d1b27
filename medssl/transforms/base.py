"""What every transform here shares: draw parameters, then apply them; and the same inside a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform, Randomizable

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from monai.config.type_definitions import KeysCollection

    Params = dict[str, Any]

LARGEST = 1e38  # the difference of two such numbers still is one in float32


class RandTransform(MapTransform, Randomizable):
    """A random change of images (C,*S) float32, two or three dimensional, that keeps their geometry.

    `draw` decides by a coin of `prob` whether anything happens (None: nothing), and gives plain numbers and small
    arrays; `apply` with the same parameters gives the same image. In a MONAI pipeline the keys share one draw, which
    stays in `drawn`; numpy, tensors and MetaTensors come back as what they were, with their affine.
    """

    bounds = (0.0, 1.0)  # values that an image may have

    def __init__(self, keys: KeysCollection = "image", prob: float = 1.0, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if not 0 <= prob <= 1:
            raise InputError(f"{type(self).__name__}: prob is {prob}, give a probability between 0 and 1")
        self.prob = prob
        self.drawn: Params | None = None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params | None:
        """Draw parameters for an image of `shape` (C,*S); None with probability 1 - prob."""
        return self.parameters(rng, shape) if rng.random() < self.prob else None

    def apply(self, x: np.ndarray, params: Params | None) -> np.ndarray:
        """Change `x` (C,*S) float32 as drawn; `x` itself is left as it is."""
        return x if params is None else self.change(x, params)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the parameters of a change that does happen."""
        raise NotImplementedError

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Change `x` by the parameters."""
        raise NotImplementedError

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw once for the first key's shape and apply to every key."""
        self.randomize(data)
        return self.replay(data, self.drawn)

    def randomize(self, data: Any = None) -> None:
        """Draw into `drawn` for the first key of the dictionary `data`; of anything else nothing can be drawn."""
        given = dict(data) if isinstance(data, Mapping) else {}
        first = next(iter(self.key_iterator(given)), None) if given else None
        self.drawn = None if first is None else self.draw(self.generator(), tuple(given[first].shape))

    def generator(self) -> np.random.Generator:
        """A fresh generator seeded from MONAI's random state, which `set_random_state` sets."""
        return np.random.default_rng(self.R.randint(0, 2**32, size=4, dtype=np.uint32))

    def replay(self, data: Mapping[Hashable, Any], params: Params | None) -> dict[Hashable, Any]:
        """Apply drawn parameters to every key; InputError for an image that is not in `bounds`."""
        changed: dict[Hashable, Any] = dict(data)
        name, (least, most) = type(self).__name__, self.bounds
        for key in self.key_iterator(changed):
            image = checked(to_numpy(data[key]), name)
            low, high = float(image.min()), float(image.max())
            if low < least - 1e-4 or high > most + 1e-4:
                raise InputError(f"{name}: {key} has values from {low:g} to {high:g}, scale it to {least:g}..{most:g}")
            changed[key] = like(self.apply(image, params), data[key])
        return changed


def to_numpy(image: Any) -> np.ndarray:
    """Numpy view or copy of an array, tensor or MetaTensor."""
    if isinstance(image, torch.Tensor):
        return torch.as_tensor(image).detach().cpu().numpy()
    return np.asarray(image)


def checked(image: np.ndarray, name: str) -> np.ndarray:
    """Return `image` as float32; refuse what has a wrong number of axes, is empty, or holds NaN or infinity."""
    refuse(image, name)
    return image.astype(np.float32, copy=False)


def refuse(image: np.ndarray, name: str) -> None:
    """Raise InputError if `image` is not (C,Y,X) or (C,Z,Y,X), is empty, or holds what is not a finite number."""
    refuse_shape(image.shape, name)
    if image.dtype.kind not in "biuf" or image.dtype.itemsize > 8:
        raise InputError(f"{name}: the image is of type {image.dtype}, give whole numbers or floats of at most 64 bits")
    if bad := unusable(image):
        raise InputError(f"{name}: the image holds values that are {bad}, replace them first")


def refuse_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise InputError for a shape other than (C,Y,X) or (C,Z,Y,X), and for one of no voxels."""
    if len(shape) not in (3, 4) or 0 in shape:
        raise InputError(f"{name}: the image has shape {tuple(shape)}, give channel first (C,Y,X) or (C,Z,Y,X)")


def unusable(image: np.ndarray) -> str:
    """Say which values of `image` float32 cannot interpolate, NaN, infinite or beyond 1e38; "" if there are none."""
    if image.dtype.kind != "f":
        return ""
    flat = image.reshape(-1)
    with np.errstate(all="ignore"):
        if (
            float(np.dot(flat, flat)) <= LARGEST**2
        ):  # the quick way to know that all are small enough; never true of NaN
            return ""
        if (np.abs(flat) <= LARGEST).all():
            return ""
    return "NaN" if np.isnan(flat).any() else f"infinite or beyond {LARGEST:g}"


def like(image: np.ndarray, original: Any) -> Any:
    """Give `image` the container of `original`: numpy, tensor on its device, or MetaTensor with affine and history."""
    if not isinstance(original, torch.Tensor):
        return image
    tensor = torch.from_numpy(np.ascontiguousarray(image)).to(original.device)
    if isinstance(original, MetaTensor):
        return MetaTensor(tensor, meta=original.meta, applied_operations=original.applied_operations)
    return tensor
