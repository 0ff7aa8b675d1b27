"""Deferred views: the workers read and draw, and the training device makes the views of a whole batch at once.

Shapes: C channels, *R the region that a view needs, *S the view's size, B batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from medssl.transforms.base import unusable
from medssl.transforms.resampling.on_device import warp_torch
from medssl.transforms.resampling.warp import cut
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from medssl.data.cache import Case
    from medssl.transforms.arguments import Fill
    from medssl.transforms.base import Params
    from medssl.transforms.modality import Preset
    from medssl.transforms.resampling.warp import Warp


class DeferredView(NamedTuple):
    """One view that was read and drawn, but not made yet."""

    parts: list[tuple[torch.Tensor, Warp]]  # stored values (C,*R) and the map into them, of the view and of the target
    intensity: Sequence[tuple[float, float]]
    changes: list[Params | None]
    corrupt: Params | None
    mask: torch.Tensor


class DeferredViews(NamedTuple):
    """A batch of deferred views; the other fields are those of Views."""

    x: tuple[list[DeferredView], ...]
    mask: torch.Tensor
    sample: torch.Tensor
    patient: torch.Tensor


def region(source: Any, map_: Warp, case: Case, fill: Fill = "edge") -> tuple[np.ndarray, Warp]:
    """Read the region (C,*R) that a map needs, in stored units; returns it and the map into it.

    Raises InputError, naming the case, for values that are NaN or infinite; both backends come through here.
    """
    found, inner = cut(source, map_, fill=fill, average=True)
    if bad := unusable(found):
        raise InputError(f"case {case.id} holds values that are {bad}: leave it out, or repair it and prepare again")
    return found, inner


def read(source: Any, map_: Warp, case: Case, fill: Fill = "edge") -> tuple[torch.Tensor, Warp]:
    """The same as `region`, with a tensor."""
    found, inner = region(source, map_, case, fill)
    return torch.from_numpy(found), inner


def _sampled(
    region: torch.Tensor,
    map_: Warp,
    intensity: Sequence[tuple[float, float]],
    device: torch.device,
    fill: Literal["edge", "reflect"] = "edge",
) -> torch.Tensor:
    """Sample a region on `device` and scale each channel's (low, high) to (0, 1) without clipping."""
    x = warp_torch(region.to(device, non_blocking=True).float(), map_, fill=fill)
    low, high = torch.tensor(intensity, device=device).reshape(-1, 2, *[1] * (x.ndim - 1)).unbind(1)
    return torch.where(high > low, (x - low) / (high - low), 0.0)


class Made(NamedTuple):
    """One view of a batch, tensors (B,C,*S): input of the method, target and input of restoration."""

    x: torch.Tensor
    target: torch.Tensor
    corrupted: torch.Tensor | None  # None: x


def finish(drafts: list[DeferredView], preset: Preset, device: torch.device, *, apart: bool = False) -> Made:
    """Make one view of a batch on `device`; with `apart`, only a copy for restoration is corrupted."""
    moved = torch.stack([_sampled(*d.parts[0], d.intensity, device, preset.warp.fill) for d in drafts])
    target = clean = moved.clamp(0, 1)
    if len(drafts[0].parts) > 1:
        target = torch.stack([_sampled(*d.parts[1], d.intensity, device) for d in drafts]).clamp(0, 1)
    x = moved if preset.keep_unclipped else clean
    for number, transform in enumerate(preset.intensity):
        x = transform.apply_batch(x, [d.changes[number] for d in drafts])
    corrupted = x if preset.corrupt is None else preset.corrupt.apply_batch(x, [d.corrupt for d in drafts])
    return Made(x, target, corrupted) if apart else Made(corrupted, target, None)
