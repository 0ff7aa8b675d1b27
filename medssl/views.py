"""From a cached array to views: crop -> warp -> target = copy -> intensity -> corrupt = x.

Crop, flip, rotation, elastic and resize are one map, sampled once. Geometry reaches target and input alike, so that
only changes of intensity, erasures and shuffles are to be restored; `faithful` keeps the releases' order instead.
Shapes: C channels, *S the view's size, B batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from medssl.transforms.filters import to_unit
from medssl.transforms.modality import preset as modality_preset
from medssl.transforms.warp import compose, draw_warp, warp
from medssl.types import InputError, View, Views, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.cache import Cache, Case
    from medssl.transforms.modality import Preset
    from medssl.transforms.warp import Fill, Warp
    from medssl.types import CropPolicy


# What reaches the input alone in the releases. DiRA: a left-right flip. TransVW: an elastic deformation (noise smoothed
# by 8 voxels, times 991: 4.75 voxels on average), here of up to that length in mm, on this project's coarse grid.
STILL = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0, "turn": False}
FAITHFUL: dict[int, dict[str, Any]] = {2: {**STILL, "flip": [0.0, 0.5]}, 3: {**STILL, "elastic": 4.75}}


def build(
    *,
    spatial_dims: int,
    size: list[int] | list[list[int]],
    count: int = 2,
    preset: str = "ct",
    faithful: bool = False,
    warp: dict[str, Any] | None = None,
    intensity: list[dict[str, Any]] | None = None,
    corrupt: str | dict[str, Any] | None = "dira",
) -> ViewMaker:
    """Make `count` views of one `size`, or of a list of sizes, one a view (multi-crop).

    `warp` and `intensity` replace what the preset takes; corrupt=null corrupts nothing. `faithful` is the order of DiRA
    (2D) and TransVW (3D): the target is the plain crop, and flip or elastic warp, which reach the input alone, are to
    be undone; intensity changes stay the preset's, and gray is not repeated to three channels as DiRA does for public
    weights. Raises InputError for sizes that do not fit `spatial_dims` or `count`.
    """
    geometry = {**FAITHFUL[spatial_dims], **(warp or {})} if faithful else warp
    recipe = modality_preset(
        preset, spatial_dims, warp=geometry, intensity=intensity, corrupt=corrupt, faithful=faithful
    )
    return ViewMaker(_sizes(size, count, spatial_dims), recipe, faithful=faithful)


class ViewMaker:
    """Draws the views of a sample; everything random comes from the generator it is given."""

    def __init__(self, sizes: Sequence[tuple[int, ...]], preset: Preset, *, faithful: bool = False) -> None:
        self.sizes, self.preset, self.faithful = tuple(sizes), preset, faithful

    def __call__(
        self, source: Any, case: Case, index: int, policy: CropPolicy, rng: np.random.Generator
    ) -> tuple[View, ...]:
        """Draw every view of `source` (C,*shape), stored units, anything that slices to numpy.

        `index` is the number under which `policy` knows the sample. Raises InputError if there is a NaN in a view.
        """
        return tuple(self._view(source, case, index, size, policy, rng) for size in self.sizes)

    def whole(self, source: Any, case: Case, size: Sequence[int]) -> np.ndarray:
        """Resize the whole array, drawing nothing: (C,*size) float32 in [0,1]; what heat maps are made of."""
        return _sample(source, compose(Window((0,) * len(size), case.shape), tuple(size), case.spacing), case)

    def _view(
        self, source: Any, case: Case, index: int, size: tuple[int, ...], policy: CropPolicy, rng: np.random.Generator
    ) -> View:
        window = policy.window(case.shape, index, rng, case.spacing)
        map_, moved = draw_warp(rng, window, size, case.spacing, self.preset.warp)
        clean = _sample(source, map_, case, self.preset.warp.fill)
        target = _sample(source, compose(window, size, case.spacing), case) if self.faithful else clean
        drawn: dict[str, Any] = {"warp": moved}
        x = clean
        for transform in self.preset.intensity:
            params = drawn[type(transform).__name__] = transform.draw(rng, x.shape)
            x = transform.apply(x, params)
        mask = np.zeros((1, *size), bool)
        if (corrupt := self.preset.corrupt) is not None:
            params = drawn["corrupt"] = corrupt.draw(rng, x.shape)
            x, mask = corrupt.apply(x, params), corrupt.mask(x.shape, params)
        return View(x, target, mask, window, drawn)


class Sample(NamedTuple):
    """One item of the data set."""

    views: tuple[View, ...]
    number: int
    patient: int


class ViewsDataset(Dataset[Sample]):
    """The views of the cases `ids` of a cache; an item is (epoch, index), and (seed, epoch, index) fixes every draw."""

    def __init__(self, cache: Cache, ids: Sequence[str], maker: ViewMaker, policy: CropPolicy, seed: int) -> None:
        self.cache, self.ids, self.maker, self.policy, self.seed = cache, list(ids), maker, policy, seed
        number: dict[str, int] = {}
        self.patients = [number.setdefault(cache.cases[name].patient, len(number)) for name in self.ids]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Views of sample `index` in `epoch`. Raises InputError naming the case if its array cannot be read."""
        epoch, index = key
        name, rng = self.ids[index], np.random.default_rng([self.seed, epoch, index])
        try:
            views = self.maker(self.cache.image(name), self.cache.cases[name], index, self.policy, rng)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"case {name} of {self.cache.path} cannot be read ({error}): remove its array and prepare again"
            ) from error
        return Sample(views, index, self.patients[index])


def collate(samples: Sequence[Sample]) -> Views:
    """Stack samples to a batch; target and mask are those of view 0."""
    views = [sample.views for sample in samples]
    return Views(
        x=tuple(_stack([v[i].x for v in views]) for i in range(len(views[0]))),
        target=_stack([v[0].target for v in views]),
        mask=_stack([v[0].mask for v in views]),
        sample=torch.tensor([sample.number for sample in samples]),
        patient=torch.tensor([sample.patient for sample in samples]),
    )


def scaled(x: np.ndarray, intensity: Sequence[tuple[float, float]]) -> np.ndarray:
    """Map stored values (C,*S) float32 so that each channel's (low, high) becomes (0, 1), cut; reuses `x` if it can.

    A channel whose low and high are equal (a constant image) becomes 0.
    """
    x = np.ascontiguousarray(x)
    for channel, (low, high) in zip(x, intensity, strict=True):
        to_unit(channel, low, high)
    return x


def _sample(source: Any, map_: Warp, case: Case, fill: Fill = "edge") -> np.ndarray:
    # Point sampling aliases where it steps over voxels: average them first.
    x = scaled(warp(source, map_, fill=fill, average=True), case.intensity)
    if not np.isfinite(np.dot(x.reshape(-1), x.reshape(-1))):
        raise InputError(f"case {case.id} holds values that are NaN: leave it out, or repair it and prepare again")
    return x


def _stack(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))


def _sizes(size: list[Any], count: int, spatial_dims: int) -> list[tuple[int, ...]]:
    """One size a view."""
    sizes = [tuple(s) for s in size] if isinstance(size[0], list | tuple) else [tuple(size)] * count
    if len(sizes) != count:
        raise InputError(f"views.size holds {len(sizes)} sizes but views.count is {count}: give one size a view")
    if count < 1 or any(len(s) != spatial_dims or min(s) < 1 for s in sizes):
        raise InputError(f"views.size is {size}: give {spatial_dims} positive sizes, and at least one view")
    return sizes
