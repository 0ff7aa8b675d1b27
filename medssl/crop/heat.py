"""Heat maps of where an encoder responds, and the box around their hot region.

Maps are (B,*s) at the resolution of a feature level; a box is 2n numbers in 0..1, low corner then high corner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import interpolate

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Level = Literal["auto", "deepest"] | int  # of features, fine to coarse
MIN_CELLS = 6
CROPS = 16  # crop sizes over which the share of guided crops is averaged
SAMPLES_PER_CELL = {2: 32, 3: 8}  # 32: the published 7 -> 224; 8 keeps a 3D map of 12 cells at 96^3


def heat_map(features: Sequence[Tensor], level: Level | None = "auto") -> Tensor:
    """Sum a feature level over channels after ReLU: features (B,C_i,*S_i), fine to coarse -> (B,*s) float32.

    "auto" (or None) takes the deepest level with at least 6 cells per axis, or the finest level if there is none: the 2
    or 3 cells per axis of a deep 3D level are too coarse. "deepest" is as published; a number is the index of a level.

    >>> heat_map([torch.ones(2, 8, 12, 12), torch.ones(2, 16, 6, 6), torch.ones(2, 32, 3, 3)]).shape
    torch.Size([2, 6, 6])
    """
    return features[_pick(features, level)].detach().float().relu().sum(1)


def _pick(features: Sequence[Tensor], level: Level | None) -> int:
    if level == "deepest":
        return len(features) - 1
    if level in ("auto", None):
        wide = [i for i, f in enumerate(features) if min(f.shape[2:]) >= MIN_CELLS]
        return max(wide, default=0)
    assert isinstance(level, int)
    if not -len(features) <= level < len(features):
        raise InputError(
            f"crop.level is {level} but the encoder has {len(features)} levels: use 0..{len(features) - 1}"
        )
    return level


def normalized_map(heat: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Scale a map (*s) to 0..1 by its minimum and maximum, then upsample it linearly to `size`; NaN if constant."""
    low, high = heat.min(), heat.max()
    return _upsample((heat - low) / (high - low), size)


def _upsample(cells: Tensor, size: Sequence[int] | None) -> Tensor:
    dims = cells.ndim
    size = size or [n * SAMPLES_PER_CELL[dims] for n in cells.shape]
    mode = "bilinear" if dims == 2 else "trilinear"
    return interpolate(cells.double()[None, None], tuple(size), mode=mode, align_corners=False)[0, 0]


def box_from_map(
    heat: Tensor,
    size: Sequence[int] | None = None,
    *,
    threshold: float = 0.1,
    box_upper: Literal["edge", "index"] = "edge",
    min_side: float = 0.0,
    percentile: float | None = None,
    foreground: Tensor | None = None,
    inside: Tensor | None = None,
) -> Tensor:
    """The box around all cells of a map (*s) above the threshold: (2n,) float64.

    Args:
        heat, size: the map, and the size of the image that the map comes from; None: 32 (2D) or 8 (3D) voxels per cell.
        threshold: of the map scaled to 0..1.
        box_upper: "edge" includes the last cell; "index", as published, ends at its index / size, which is never 1.
        min_side: smallest side of the box; it is grown to that about its centre.
        percentile: replaces the threshold by this percentile of the upsampled map.
        foreground: box (2n,) around the body, to which the box is clipped; if they do not overlap, the hot region lies
            outside the body, and `largest_box` is returned.
        inside: (*s) bool, the cells that contain part of the body; the others count as the coldest of these.

    Returns NaN if the map is constant, not finite or nowhere above the threshold.

    >>> heat = torch.zeros(8, 8)
    >>> heat[4:6, 4:8] = 1.0
    >>> box_from_map(heat, (8, 8), threshold=0.5).tolist()
    [0.5, 0.5, 0.75, 1.0]
    """
    cells = heat
    if inside is not None and bool(inside.any()):
        cells = torch.where(inside, heat, heat[inside].min())
    hot, least = normalized_map(cells, size), threshold
    if percentile is not None:
        least = hot.flatten().kthvalue(max(1, round(hot.numel() * percentile / 100))).values.item()
    box = _around(hot, least, box_upper)
    if foreground is not None and _apart(box, foreground):
        box = _reach(heat.shape, size, threshold, box_upper, percentile, inside)
    return _fit(box, foreground, min_side)


def largest_box(
    shape: Sequence[int],
    size: Sequence[int] | None = None,
    *,
    threshold: float = 0.1,
    box_upper: Literal["edge", "index"] = "edge",
    min_side: float = 0.0,
    percentile: float | None = None,
    foreground: Tensor | None = None,
    inside: Tensor | None = None,
) -> Tensor:
    """The largest box that `box_from_map` can return for a map of `shape`: (2n,) float64.

    It is the box of a map that is hot in all cells `inside`. With `percentile`, whose threshold depends on the map, it
    is the box of all cells above the coldest. The arguments are those of `box_from_map`.
    """
    return _fit(_reach(shape, size, threshold, box_upper, percentile, inside), foreground, min_side)


def volume(boxes: Tensor) -> Tensor:
    """Share of the image in each box (N,2n): (N,)."""
    low, high = boxes.chunk(2, 1)
    return (high - low).prod(1)


def covers(boxes: Tensor, others: Tensor) -> Tensor:
    """Whether each box (N,2n) contains the other box in the same row: (N,) bool."""
    (low, high), (first, last) = boxes.chunk(2, 1), others.chunk(2, 1)
    return ((low <= first) & (high >= last)).all(1)


def guided(boxes: Tensor, scale: tuple[float, float]) -> float:
    """Share of crops whose position the boxes (N,2n) restrict, for crop volumes uniform in `scale`.

    The centre of a crop with side s lies in [s/2, 1 - s/2]: a box with no edge in this range changes nothing. Crops are
    taken to have the aspect ratio of the image.
    """
    low, high = boxes.chunk(2, 1)
    shares = scale[0] + (scale[1] - scale[0]) * (torch.arange(CROPS, dtype=torch.float64) + 0.5) / CROPS
    half = shares[:, None, None] ** (1 / low.shape[1]) / 2
    return ((low > half) | (high < 1 - half)).any(2).double().mean().item()


def _reach(
    shape: Sequence[int],
    size: Sequence[int] | None,
    threshold: float,
    box_upper: Literal["edge", "index"],
    percentile: float | None,
    inside: Tensor | None,
) -> Tensor:
    hot = _upsample(torch.ones(tuple(shape)) if inside is None or not bool(inside.any()) else inside, size)
    return _around(hot, threshold if percentile is None else 0.0, box_upper)


def _around(hot: Tensor, threshold: float, box_upper: Literal["edge", "index"]) -> Tensor:
    """Box (2,n) around all cells above the threshold; NaN if there are none."""
    low, high = [], []
    for axis in range(hot.ndim):
        kept = (hot.amax([i for i in range(hot.ndim) if i != axis]) > threshold).nonzero().flatten()
        if not len(kept):
            return torch.full((2, hot.ndim), torch.nan, dtype=torch.float64)
        low.append(kept[0].item() / hot.shape[axis])
        high.append((kept[-1].item() + (box_upper == "edge")) / hot.shape[axis])
    return torch.tensor([low, high], dtype=torch.float64)


def _fit(box: Tensor, foreground: Tensor | None, min_side: float) -> Tensor:
    """Clip a (2,n) box to the foreground (if they do not overlap, take the foreground), then grow it: (2n,)."""
    if foreground is not None and not bool(box.isnan().any()):
        body = foreground.double().reshape(2, -1)
        both = torch.stack([torch.maximum(box[0], body[0]), torch.minimum(box[1], body[1])])
        box = body if _apart(box, foreground) else both
    return _grow(box, min_side).flatten()


def _apart(box: Tensor, foreground: Tensor) -> bool:
    """Whether a (2,n) box and a (2n,) one do not overlap; false for a box of NaN."""
    low, high = foreground.double().reshape(2, -1)
    return bool((torch.maximum(box[0], low) >= torch.minimum(box[1], high)).any())


def _grow(box: Tensor, min_side: float) -> Tensor:
    """Grow the short sides of a (2,n) box about its centre to `min_side`, shifted to stay in 0..1."""
    short = box[1] - box[0] < min_side
    low = (box.mean(0) - min_side / 2).clamp(0, 1 - min_side)
    return torch.where(short, torch.stack([low, low + min_side]), box)
