"""From a cached array to views: crop -> warp -> target (a copy) -> intensity changes -> corruption.

The method compares the views before the corruption; restoration starts from the corrupted view 0. With
`corrupt_for: all` both get corrupted views. Crop, flip, rotation, elastic deformation and resize are combined into one
map, and the image is interpolated once. Input and target get the same geometry, so that restoration has to undo only
intensity changes and corruption; `faithful` keeps the order of the published code instead.
Shapes: C channels, *S the view's size, B batch.

Arguments of `build`:
    spatial_dims: 2 or 3.
    channels: of the images; None if not known.
    size: of the views in voxels: one size for all, or a list with one size per view (multi-crop).
    count: number of views per sample.
    preset: augmentation that suits the modality, see `medssl.transforms.modality`.
    faithful: the order of the published code of DiRA (2D) and TransVW (3D). The target is the plain crop; a flip or
        an elastic deformation changes only the input, so that restoration has to undo it too. Intensity changes
        stay those of the preset. In 2D the encoder gets a gray image as three equal channels, as DiRA's does.
    warp: geometry settings that replace those of the preset.
    intensity: intensity changes that replace those of the preset.
    corrupt: the corruption, by name or with its settings; None: no corruption.
    corrupt_for: "restore" corrupts a copy of view 0 for restoration, and the method compares clean views; this
        costs one more forward pass of the encoder. "all" corrupts every view, for the method too, as DiRA's
        published code does. "auto" is "all" if `faithful`, else "restore".
    restores: whether the recipe restores images at all; if not, "restore" corrupts nothing.
    device: "cpu" makes views in the workers. With "cuda" the workers only read, and the training device makes
        whole batches: from the same random draws the same images, to 1e-3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from medssl.transforms.deferred import DeferredView, DeferredViews, finish, read, region
from medssl.transforms.filters import to_unit
from medssl.transforms.modality import preset as modality_preset
from medssl.transforms.resampling.warp import compose, draw_warp, sample
from medssl.types import InputError, View, Views, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.cache import Case
    from medssl.transforms.arguments import Fill
    from medssl.transforms.base import Params
    from medssl.transforms.modality import Preset
    from medssl.transforms.resampling.warp import Warp
    from medssl.types import CropPolicy


# Geometry that changes only the input in the published code. DiRA: a left-right flip. TransVW: an elastic deformation.
STILL = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0, "turn": False}
FAITHFUL: dict[int, dict[str, Any]] = {
    2: {**STILL, "flip": [0.0, 0.5]},
    3: {**STILL, "elastic": "transvw", "fill": "reflect"},
}


def build(
    *,
    spatial_dims: int,
    channels: int | None = None,
    size: list[int] | list[list[int]],
    count: int = 2,
    preset: str = "ct",
    faithful: bool = False,
    warp: dict[str, Any] | None = None,
    intensity: list[dict[str, Any]] | None = None,
    corrupt: str | dict[str, Any] | None = "dira",
    corrupt_for: Literal["auto", "restore", "all"] = "auto",
    restores: bool = True,
    device: Literal["cpu", "cuda"] = "cpu",
) -> ViewMaker:
    """Check the `views` group of a recipe and make its `ViewMaker`.

    Raises InputError for sizes that do not fit `spatial_dims` or `count`, and for settings that contradict each other.

    >>> build(spatial_dims=2, size=[[96, 96], [48, 48]], preset="xray").sizes
    ((96, 96), (48, 48))
    """
    geometry = {**FAITHFUL[spatial_dims], **(warp or {})} if faithful else warp
    recipe = modality_preset(
        preset, spatial_dims, channels, warp=geometry, intensity=intensity, corrupt=corrupt, faithful=faithful
    )
    apart = corrupt_for == "restore" or (corrupt_for == "auto" and not faithful)
    if apart and not restores:
        recipe = recipe._replace(corrupt=None)
    return ViewMaker(_sizes(size, count, spatial_dims), recipe, faithful=faithful, apart=apart, device=device)


Batch = Views | DeferredViews


class Drawn(NamedTuple):
    """All random choices of one view."""

    window: Window
    map: Warp
    plain: Warp | None  # the map of the target, if `faithful`
    moved: dict[str, Any]
    changes: list[Params | None]  # one per intensity transform
    corrupt: Params | None


class ViewMaker:
    """Makes the views of a sample. All random choices come from the generator that is passed in; see `build`."""

    def __init__(
        self,
        sizes: Sequence[tuple[int, ...]],
        preset: Preset,
        *,
        faithful: bool = False,
        apart: bool = False,  # only a copy of view 0 is corrupted
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        self.sizes, self.preset, self.device = tuple(sizes), preset, device
        self.faithful, self.apart = faithful, apart and preset.corrupt is not None

    def __call__(
        self, source: Any, case: Case, index: int, policy: CropPolicy, rng: np.random.Generator
    ) -> tuple[View, ...]:
        """Make all views of `source` (C,*shape), in stored units; it may be anything that slices to numpy.

        `index` is the number of the sample in `policy`. Raises InputError if a view contains NaN.
        """
        return tuple(self._view(source, case, drawn) for drawn in self._drawn(source, case, index, policy, rng))

    def drafts(
        self, source: Any, case: Case, index: int, policy: CropPolicy, rng: np.random.Generator
    ) -> tuple[DeferredView, ...]:
        """Draw and read only, with the same random draws as a call; `finish` does the rest."""
        return tuple(self._draft(source, case, drawn) for drawn in self._drawn(source, case, index, policy, rng))

    def finish(self, batch: Batch, device: torch.device) -> Views:
        """Move a batch to `device`, and make its views there if the workers only read them."""
        if isinstance(batch, DeferredViews):
            made = [finish(drafts, self.preset, device, apart=self.apart) for drafts in batch.x]
            x = tuple(view.x for view in made)
            batch = Views(x, made[0].target, batch.mask, batch.sample, batch.patient, made[0].corrupted)
        x = tuple(view.to(device, non_blocking=True) for view in batch.x)
        target, mask, sample, patient = (tensor.to(device, non_blocking=True) for tensor in batch[1:5])
        corrupted = None if batch.corrupted is None else batch.corrupted.to(device, non_blocking=True)
        return Views(x, target, mask, sample, patient, corrupted)

    def whole(self, source: Any, case: Case, size: Sequence[int]) -> np.ndarray:
        """Resize the whole image without augmentation, as input for heat maps: (C,*size) float32 in [0,1]."""
        return _sample(source, compose(Window((0,) * len(size), case.shape), tuple(size), case.spacing), case)[1]

    def _drawn(self, source: Any, case: Case, index: int, policy: CropPolicy, rng: np.random.Generator) -> list[Drawn]:
        """The draws of each view. A corruption of the copy is drawn last, so that the views do not depend on it."""
        drawn = [self._draw(source, case, index, view, policy, rng) for view in range(len(self.sizes))]
        if self.apart and self.preset.corrupt is not None:
            shape = (source.shape[0], *self.sizes[0])
            drawn[0] = drawn[0]._replace(corrupt=self.preset.corrupt.draw(rng, shape))
        return drawn

    def _draw(
        self, source: Any, case: Case, index: int, view: int, policy: CropPolicy, rng: np.random.Generator
    ) -> Drawn:
        size = self.sizes[view]
        shape = (source.shape[0], *size)
        window = policy.window(case.shape, index, rng, case.spacing, view)
        map_, moved = draw_warp(rng, window, size, case.spacing, self.preset.moves(window, case.spacing))
        changes = [transform.draw(rng, shape) for transform in self.preset.intensity]
        corrupt = self.preset.corrupt.draw(rng, shape) if self.preset.corrupt and not self.apart else None
        plain = compose(window, size, case.spacing) if self.faithful else None
        return Drawn(window, map_, plain, moved, changes, corrupt)

    def _view(self, source: Any, case: Case, drawn: Drawn) -> View:
        x, clean = _sample(source, drawn.map, case, self.preset.warp.fill, keep_unclipped=self.preset.keep_unclipped)
        target = clean if drawn.plain is None else _sample(source, drawn.plain, case)[1]
        for transform, params in zip(self.preset.intensity, drawn.changes, strict=True):
            x = transform.apply(x, params)
        corrupted = x if self.preset.corrupt is None else self.preset.corrupt.apply(x, drawn.corrupt)
        seen = (x, corrupted) if self.apart else (corrupted, None)
        return View(seen[0], target, self._mask(x.shape, drawn), drawn.window, self._named(drawn), seen[1])

    def _mask(self, shape: tuple[int, ...], drawn: Drawn) -> np.ndarray:
        if self.preset.corrupt is None:
            return np.zeros((1, *shape[1:]), bool)
        return self.preset.corrupt.mask(shape, drawn.corrupt)

    def _named(self, drawn: Drawn) -> dict[str, Any]:
        named: dict[str, Any] = {"warp": drawn.moved}
        for transform, params in zip(self.preset.intensity, drawn.changes, strict=True):
            name = type(transform).__name__
            named[f"{name} {len(named)}" if name in named else name] = params
        return named if self.preset.corrupt is None else {**named, "corrupt": drawn.corrupt}

    def _draft(self, source: Any, case: Case, drawn: Drawn) -> DeferredView:
        parts = [read(source, drawn.map, case, self.preset.warp.fill)]
        if drawn.plain is not None:
            parts.append(read(source, drawn.plain, case))
        mask = self._mask((source.shape[0], *drawn.map.size), drawn)
        return DeferredView(parts, case.intensity, drawn.changes, drawn.corrupt, torch.from_numpy(mask))


def scaled(x: np.ndarray, intensity: Sequence[tuple[float, float]], *, cut: bool = True) -> np.ndarray:
    """Map stored values (C,*S) float32 so that each channel's (low, high) becomes (0, 1); may change `x` in place.

    `cut` clips values beyond, unless a window change follows. A channel with low equal to high (a constant image)
    becomes 0.
    """
    x = np.ascontiguousarray(x)
    for channel, (low, high) in zip(x, intensity, strict=True):
        to_unit(channel, low, high, cut=cut)
    return x


def _sample(
    source: Any, map_: Warp, case: Case, fill: Fill = "edge", *, keep_unclipped: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Sample the image: as input of the intensity changes, with values beyond the window if asked for, and clipped."""
    found, inner = region(source, map_, case, fill)
    x = scaled(sample(found, inner, fill=fill), case.intensity, cut=not keep_unclipped)
    return x, np.clip(x, 0, 1) if keep_unclipped else x


def _sizes(size: list[Any], count: int, spatial_dims: int) -> list[tuple[int, ...]]:
    """One size per view."""
    sizes = [tuple(s) for s in size] if size and isinstance(size[0], list | tuple) else [tuple(size)] * count
    if len(sizes) != count:
        raise InputError(f"views.size holds {len(sizes)} sizes but views.count is {count}: give one size per view")
    if count < 1 or any(len(s) != spatial_dims or min(s) < 1 for s in sizes):
        raise InputError(f"views.size is {size}: give {spatial_dims} positive sizes, and at least one view")
    return sizes
