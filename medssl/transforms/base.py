"""What every transform here shares: draw parameters, then apply them; and the same inside a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform, Randomizable

from medssl.transforms.arguments import number
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    Params = dict[str, Any]

LARGEST = 1e38  # the difference of two such numbers still is one in float32
ANY = (-np.inf, np.inf)  # bounds of a transform that takes every image


class RandTransform(MapTransform, Randomizable):
    """A random change of images (C,*S) float32, two or three dimensional, that keeps their geometry.

    `draw` decides by a coin of `prob` whether anything happens (None: nothing), and gives what JSON can hold: numbers,
    words and lists; `apply` with the same parameters, also back from JSON, gives the same image. In a MONAI pipeline
    the keys share one draw, which stays in `drawn`; numpy, tensors and MetaTensors come back as what they were, with
    their affine. Raises InputError when keys differ in shape.

    A transform of your own is a class with `parameters` and `change`, in a module with `build`, whose keyword-only
    arguments are its schema in a recipe (a class will do); `change_batch` where a whole batch on a device is quicker.
    """

    bounds: tuple[float, float] = (0.0, 1.0)  # values that an image may have
    unclipped = False  # whether it takes values that nothing has cut to [0,1] yet: in a recipe it then comes first

    def __init_subclass__(cls, **options: Any) -> None:
        """A class that changes images in another way than its parent does not take over the parent's batches."""
        super().__init_subclass__(**options)
        if {"change", "apply"} & set(vars(cls)) and "change_batch" not in vars(cls):
            cls.change_batch = RandTransform.change_batch  # type: ignore[method-assign]

    def __init__(self, keys: KeysCollection = "image", prob: float = 1.0, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.prob = number(self, "prob", prob, 0, 1)
        self.drawn: Params | None = None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params | None:
        """Draw parameters for an image of `shape` (C,*S); None with probability 1 - prob."""
        return self.parameters(rng, shape) if rng.random() < self.prob else None

    def apply(self, x: np.ndarray, params: Params | None) -> np.ndarray:
        """Change `x` (C,*S) float32 as drawn; `x` itself is left as it is."""
        return x if params is None else self.change(x, params)

    def apply_batch(self, x: Tensor, drawn: Sequence[Params | None]) -> Tensor:
        """Change the samples of `x` (B,C,*S) as drawn for each, on its device; `x` itself is left as it is.

        Equal to `apply` of every sample, to 1e-3.
        """
        at = [i for i, params in enumerate(drawn) if params is not None]
        if not at:
            return x
        x = x.clone()
        x[at] = self.change_batch(x[at], [params for params in drawn if params is not None])
        return x

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the parameters of a change that does happen."""
        raise NotImplementedError

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Change `x` (C,*S) by the parameters."""
        raise NotImplementedError

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Change every sample of `x` (B,C,*S) by its own parameters: here one by one, on the CPU."""
        images = [self.apply(image, params) for image, params in zip(x.cpu().numpy(), drawn, strict=True)]
        return torch.from_numpy(np.stack(images)).to(x.device)

    def fits(self, spatial_dims: int, channels: int | None) -> None:
        """Raise InputError if it cannot change images of so many axes and channels (None: not known yet)."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw once for the first key's shape and apply to every key."""
        drawn = self.drawn_for(data)
        self.drawn = drawn  # for the log alone: other threads may draw before this one has replayed
        return self.replay(data, drawn)

    def randomize(self, data: Any = None) -> None:
        """Draw into `drawn` for the images of the dictionary `data`; of anything else nothing can be drawn."""
        self.drawn = self.drawn_for(data) if isinstance(data, Mapping) else None

    def drawn_for(self, data: Mapping[Hashable, Any]) -> Params | None:
        """Draw for the images of the dictionary `data`; None, too, where no key is there."""
        shapes = self._shapes(data)
        return self.draw(self.generator(), next(iter(shapes.values()))) if shapes else None

    def generator(self) -> np.random.Generator:
        """A fresh generator seeded from MONAI's random state, which `set_random_state` sets."""
        return np.random.default_rng(self.R.randint(0, 2**32, size=4, dtype=np.uint32))

    def replay(self, data: Mapping[Hashable, Any], params: Params | None) -> dict[Hashable, Any]:
        """Apply drawn parameters to every key; InputError for an image that cannot be changed."""
        changed: dict[Hashable, Any] = dict(data)
        for key in self._shapes(data):
            image = checked(to_numpy(data[key]), type(self).__name__)
            self.check(image, key)  # even where the coin fell on no change: an error must not wait for it
            changed[key] = like(self.apply(image, params), data[key])
        return changed

    def check(self, image: np.ndarray, key: Hashable) -> None:
        """Raise InputError for an image (C,*S) float32 that is not in `bounds`."""
        (least, most), low, high = self.bounds, float(image.min()), float(image.max())
        if low < least - 1e-4 or high > most + 1e-4:
            name = type(self).__name__
            raise InputError(f"{name}: {key} has values from {low:g} to {high:g}, scale it to {least:g}..{most:g}")

    def _shapes(self, data: Mapping[Hashable, Any]) -> dict[Hashable, tuple[int, ...]]:
        """Shapes of the images of all keys that are there, which must be on one grid."""
        name = type(self).__name__
        shapes = {key: shape_of(data[key], f"{name}: {key}") for key in self.key_iterator(dict(data))}
        for key, shape in shapes.items():
            refuse_shape(shape, f"{name}: {key}")
        if len({shape[1:] for shape in shapes.values()}) > 1:
            raise InputError(f"{name}: the keys have shapes {shapes}, bring them to one grid first")
        return shapes


def to_numpy(image: Any) -> np.ndarray:
    """Numpy view or copy of an array, tensor or MetaTensor."""
    if isinstance(image, torch.Tensor):
        if image.dtype == torch.bfloat16:
            raise InputError("an image is of type torch.bfloat16, which numpy lacks: give float32, or whole numbers")
        return torch.as_tensor(image).detach().cpu().numpy()
    return np.asarray(image)


def shape_of(image: Any, name: str) -> tuple[int, ...]:
    """Return the shape of an image; InputError for what is no array and no tensor."""
    if not hasattr(image, "shape"):
        raise InputError(f"{name} is a {type(image).__name__}, give an array or a tensor, channel first")
    return tuple(image.shape)


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
    if flat.dtype.itemsize < 4:  # float16 has no number as large as LARGEST to be compared with
        flat = flat.astype(np.float32)
    with np.errstate(all="ignore"):
        if float(np.dot(flat, flat)) <= LARGEST**2:  # the quick way to know it; never true of NaN
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
