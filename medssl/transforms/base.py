"""The base class of the transforms: draw random parameters, then apply them, also inside a MONAI pipeline."""

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

LARGEST = 1e38  # the difference of two such numbers can still be stored in float32
ANY = (-np.inf, np.inf)  # bounds of a transform that accepts any values


class RandTransform(MapTransform, Randomizable):
    """A random change of 2D or 3D images (C,*S) float32 that keeps their geometry.

    `draw` returns the random parameters, which can be stored as JSON, or None with probability 1 - prob; `apply` with
    the same parameters, also read back from JSON, gives the same image. In a MONAI pipeline all keys get the same
    change, and the parameters are kept in `drawn`; arrays, tensors and MetaTensors keep their type and affine. Raises
    InputError if keys differ in shape.

    A transform of your own is a class with `parameters` and `change`, in a module with `build`, whose keyword-only
    arguments are the keys of a recipe (`build` may be the class itself). Add `change_batch` if a whole batch can be
    changed faster on a GPU.

    Args:
        keys: keys of the images.
        prob: probability that an image is changed.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.

    >>> class RandInvertd(RandTransform):
    ...     def parameters(self, rng, shape):
    ...         return {}
    ...
    ...     def change(self, x, params):
    ...         return 1 - x
    >>> RandInvertd("image")({"image": np.array([[[0.0, 0.25]]])})["image"].tolist()
    [[[1.0, 0.75]]]
    """

    bounds: tuple[float, float] = (0.0, 1.0)  # allowed range of values of an image
    unclipped = False  # whether it needs values not yet clipped to [0,1]; in a recipe it then comes first

    def __init_subclass__(cls, **options: Any) -> None:
        """A subclass with its own `change` or `apply` does not inherit `change_batch`, which would differ."""
        super().__init_subclass__(**options)
        if {"change", "apply"} & set(vars(cls)) and "change_batch" not in vars(cls):
            cls.change_batch = RandTransform.change_batch  # type: ignore[method-assign]

    def __init__(self, keys: KeysCollection = "image", prob: float = 1.0, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.prob = number(self, "prob", prob, 0, 1)
        self.drawn: Params | None = None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params | None:
        """Draw the parameters for an image of `shape` (C,*S); None with probability 1 - prob."""
        return self.parameters(rng, shape) if rng.random() < self.prob else None

    def apply(self, x: np.ndarray, params: Params | None) -> np.ndarray:
        """Return `x` (C,*S) float32 changed as drawn; does not modify `x`."""
        return x if params is None else self.change(x, params)

    def apply_batch(self, x: Tensor, drawn: Sequence[Params | None]) -> Tensor:
        """Return the samples of `x` (B,C,*S) changed as drawn for each, on the device of `x`; does not modify `x`.

        The result equals `apply` on each sample, to 1e-3.
        """
        at = [i for i, params in enumerate(drawn) if params is not None]
        if not at:
            return x
        x = x.clone()
        x[at] = self.change_batch(x[at], [params for params in drawn if params is not None])
        return x

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw the parameters of a change, for an image of `shape` (C,*S)."""
        raise NotImplementedError

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Change `x` (C,*S) by the parameters."""
        raise NotImplementedError

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Change each sample of `x` (B,C,*S) with its own parameters; here one by one on the CPU."""
        images = [self.apply(image, params) for image, params in zip(x.cpu().numpy(), drawn, strict=True)]
        return torch.from_numpy(np.stack(images)).to(x.device)

    def fits(self, spatial_dims: int, channels: int | None) -> None:
        """Raise InputError if images with these axes and channels (None: not known yet) cannot be changed."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw once for the first key's shape and apply to every key."""
        drawn = self.drawn_for(data)
        self.drawn = drawn  # for the log only: another thread may replace it before the next line
        return self.replay(data, drawn)

    def randomize(self, data: Any = None) -> None:
        """Draw parameters for the images of the dictionary `data` and keep them in `drawn`; None for anything else."""
        self.drawn = self.drawn_for(data) if isinstance(data, Mapping) else None

    def drawn_for(self, data: Mapping[Hashable, Any]) -> Params | None:
        """Draw parameters for the images of the dictionary `data`; None also if it has none of the keys."""
        shapes = self._shapes(data)
        return self.draw(self.generator(), next(iter(shapes.values()))) if shapes else None

    def generator(self) -> np.random.Generator:
        """A fresh generator seeded from MONAI's random state, which `set_random_state` sets."""
        return np.random.default_rng(self.R.randint(0, 2**32, size=4, dtype=np.uint32))

    def replay(self, data: Mapping[Hashable, Any], params: Params | None) -> dict[Hashable, Any]:
        """Apply drawn parameters to all keys. Raises InputError for an image that cannot be changed."""
        changed: dict[Hashable, Any] = dict(data)
        for key in self._shapes(data):
            image = checked(to_numpy(data[key]), type(self).__name__)
            self.check(image, key)  # also without a change: an error must not depend on the draw
            changed[key] = like(self.apply(image, params), data[key])
        return changed

    def check(self, image: np.ndarray, key: Hashable) -> None:
        """Raise InputError for an image (C,*S) float32 that is not in `bounds`."""
        (least, most), low, high = self.bounds, float(image.min()), float(image.max())
        if low < least - 1e-4 or high > most + 1e-4:
            name = type(self).__name__
            raise InputError(f"{name}: {key} has values from {low:g} to {high:g}, scale it to {least:g}..{most:g}")

    def _shapes(self, data: Mapping[Hashable, Any]) -> dict[Hashable, tuple[int, ...]]:
        """The shapes of the images, which must be equal; missing keys are skipped if that is allowed."""
        name = type(self).__name__
        shapes = {key: shape_of(data[key], f"{name}: {key}") for key in self.key_iterator(dict(data))}
        for key, shape in shapes.items():
            refuse_shape(shape, f"{name}: {key}")
        if len({shape[1:] for shape in shapes.values()}) > 1:
            raise InputError(f"{name}: the keys have shapes {shapes}, resample them to one grid first")
        return shapes


def to_numpy(image: Any) -> np.ndarray:
    """Numpy view or copy of an array, tensor or MetaTensor."""
    if isinstance(image, torch.Tensor):
        if image.dtype == torch.bfloat16:
            raise InputError("an image is of type torch.bfloat16, which numpy does not have: give float32 or integers")
        return torch.as_tensor(image).detach().cpu().numpy()
    return np.asarray(image)


def shape_of(image: Any, name: str) -> tuple[int, ...]:
    """The shape of an image. Raises InputError for anything but an array or a tensor."""
    if not hasattr(image, "shape"):
        raise InputError(f"{name} is a {type(image).__name__}, give an array or a tensor, channel first")
    return tuple(image.shape)


def checked(image: np.ndarray, name: str) -> np.ndarray:
    """Return `image` as float32. Raises InputError for a wrong number of axes, no voxels, NaN or infinity."""
    refuse(image, name)
    return image.astype(np.float32, copy=False)


def refuse(image: np.ndarray, name: str) -> None:
    """Raise InputError if `image` is not (C,Y,X) or (C,Z,Y,X), is empty, or has values that are not finite."""
    refuse_shape(image.shape, name)
    if image.dtype.kind not in "biuf" or image.dtype.itemsize > 8:
        raise InputError(f"{name}: the image is of type {image.dtype}, give integers or floats of at most 64 bits")
    if bad := unusable(image):
        raise InputError(f"{name}: the image holds values that are {bad}, replace them first")


def refuse_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise InputError for a shape other than (C,Y,X) or (C,Z,Y,X), and for one without voxels."""
    if len(shape) not in (3, 4) or 0 in shape:
        raise InputError(f"{name}: the image has shape {tuple(shape)}, give channel first (C,Y,X) or (C,Z,Y,X)")


def unusable(image: np.ndarray) -> str:
    """Describe values of `image` that cannot be interpolated in float32 (NaN, infinite, beyond 1e38); "" if none."""
    if image.dtype.kind != "f":
        return ""
    flat = image.reshape(-1)
    if flat.dtype.itemsize < 4:  # float16 has no number as large as LARGEST to be compared with
        flat = flat.astype(np.float32)
    with np.errstate(all="ignore"):
        if float(np.dot(flat, flat)) <= LARGEST**2:  # a quick test, which is never true with NaN
            return ""
        if (np.abs(flat) <= LARGEST).all():
            return ""
    return "NaN" if np.isnan(flat).any() else f"infinite or beyond {LARGEST:g}"


def like(image: np.ndarray, original: Any) -> Any:
    """Convert `image` to the type of `original`: array, tensor on its device, or MetaTensor with affine and history."""
    if not isinstance(original, torch.Tensor):
        return image
    tensor = torch.from_numpy(np.ascontiguousarray(image)).to(original.device)
    if isinstance(original, MetaTensor):
        return MetaTensor(tensor, meta=original.meta, applied_operations=original.applied_operations)
    return tensor
