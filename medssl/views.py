"""From a cached array to views: crop -> warp -> target = copy -> intensity = x -> corrupt.

The method compares views before the corruption, restoration starts from view 0 after it; with `corrupt_for: all` both
see what is corrupted. Crop, flip, rotation, elastic and resize are one map, sampled once. Geometry reaches target and
input alike, so that only changes of intensity, erasures and shuffles are to be restored; `faithful` keeps the releases'
order instead.
Shapes: C channels, *S the view's size, B batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from medssl.transforms.deferred import DeferredView, DeferredViews, finish, read, region
from medssl.transforms.filters import to_unit
from medssl.transforms.modality import preset as modality_preset
from medssl.transforms.resampling.warp import compose, draw_warp, warp
from medssl.types import InputError, View, Views, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.cache import Case
    from medssl.transforms.arguments import Fill
    from medssl.transforms.base import Params
    from medssl.transforms.modality import Preset
    from medssl.transforms.resampling.warp import Warp
    from medssl.types import CropPolicy


# What reaches the input alone in the releases. DiRA: a left-right flip. TransVW: an elastic deformation, always.
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
    """Make `count` views of one `size`, or of a list of sizes, one a view (multi-crop).

    `warp` and `intensity` replace what the preset takes; corrupt=null corrupts nothing. corrupt_for=restore corrupts
    a copy of view 0, which is restored, and the method compares the views themselves; a sample is encoded once more,
    and without restoration (`restores` false) nothing is corrupted. corrupt_for=all corrupts every view, for the method
    as well, as DiRA's release does; auto is all where `faithful`, else restore. `faithful` is the order of DiRA (2D)
    and TransVW (3D): the target is the plain crop, and flip or elastic warp, which reach the input alone, are to be
    undone; intensity changes stay the preset's; in 2D the encoder sees gray as three equal channels, as DiRA's does.
    device=cpu makes views on the workers; with device=cuda workers only read, and the device that trains warps and
    changes whole batches: the same draws, the same images to 1e-3. `channels`: of the images, None if not known.
    Raises InputError for sizes that do not fit `spatial_dims` or `count`, and for settings that make no sense.
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
    """All that is random in one view."""

    window: Window
    map: Warp
    plain: Warp | None  # the target's own map, if `faithful`
    moved: dict[str, Any]
    changes: list[Params | None]  # one an intensity transform
    corrupt: Params | None


class ViewMaker:
    """Draws the views of a sample; everything random comes from the generator it is given."""

    def __init__(
        self,
        sizes: Sequence[tuple[int, ...]],
        preset: Preset,
        *,
        faithful: bool = False,
        apart: bool = False,  # the corruption is for a copy of view 0
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        self.sizes, self.preset, self.device = tuple(sizes), preset, device
        self.faithful, self.apart = faithful, apart and preset.corrupt is not None

    def __call__(
        self, source: Any, case: Case, index: int, policy: CropPolicy, rng: np.random.Generator
    ) -> tuple[View, ...]:
        """Draw every view of `source` (C,*shape), stored units, anything that slices to numpy.

        `index` is the number under which `policy` knows the sample. Raises InputError for a NaN where a view looks.
        """
        return tuple(self._view(source, case, drawn) for drawn in self._drawn(source, case, index, policy, rng))

    def drafts(
        self, source: Any, case: Case, index: int, policy: CropPolicy, rng: np.random.Generator
    ) -> tuple[DeferredView, ...]:
        """Draw and read, but leave sampling and changes to `finish`: the same draws as those of a call."""
        return tuple(self._draft(source, case, drawn) for drawn in self._drawn(source, case, index, policy, rng))

    def finish(self, batch: Batch, device: torch.device) -> Views:
        """Bring a batch to `device`, and make its views there if workers left that to it."""
        if isinstance(batch, DeferredViews):
            made = [finish(drafts, self.preset, device, apart=self.apart) for drafts in batch.x]
            x = tuple(view.x for view in made)
            batch = Views(x, made[0].target, batch.mask, batch.sample, batch.patient, made[0].corrupted)
        x = tuple(view.to(device, non_blocking=True) for view in batch.x)
        target, mask, sample, patient = (tensor.to(device, non_blocking=True) for tensor in batch[1:5])
        corrupted = None if batch.corrupted is None else batch.corrupted.to(device, non_blocking=True)
        return Views(x, target, mask, sample, patient, corrupted)

    def whole(self, source: Any, case: Case, size: Sequence[int]) -> np.ndarray:
        """Resize the whole array, drawing nothing: (C,*size) float32 in [0,1]; what heat maps are made of."""
        return _sample(source, compose(Window((0,) * len(size), case.shape), tuple(size), case.spacing), case)[1]

    def _drawn(self, source: Any, case: Case, index: int, policy: CropPolicy, rng: np.random.Generator) -> list[Drawn]:
        """What each view drew; a corruption for restoration alone comes last, so that views are as they are without."""
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
    """Map stored values (C,*S) float32 so that each channel's (low, high) becomes (0, 1); reuses `x` if it can.

    What is beyond is `cut`, unless a change of window is to come. A channel whose low and high are equal (a constant
    image) becomes 0.
    """
    x = np.ascontiguousarray(x)
    for channel, (low, high) in zip(x, intensity, strict=True):
        to_unit(channel, low, high, cut=cut)
    return x


def _sample(
    source: Any, map_: Warp, case: Case, fill: Fill = "edge", *, keep_unclipped: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What intensity changes start from, with values `beyond` the case's window if asked for, and the same cut."""
    found, inner = region(source, map_, case, fill)
    x = scaled(warp(found, inner, fill=fill), case.intensity, cut=not keep_unclipped)
    return x, np.clip(x, 0, 1) if keep_unclipped else x


def _sizes(size: list[Any], count: int, spatial_dims: int) -> list[tuple[int, ...]]:
    """One size a view."""
    sizes = [tuple(s) for s in size] if size and isinstance(size[0], list | tuple) else [tuple(size)] * count
    if len(sizes) != count:
        raise InputError(f"views.size holds {len(sizes)} sizes but views.count is {count}: give one size a view")
    if count < 1 or any(len(s) != spatial_dims or min(s) < 1 for s in sizes):
        raise InputError(f"views.size is {size}: give {spatial_dims} positive sizes, and at least one view")
    return sizes
