"""Where an encoder responds: heat maps from its features, and the box around what is hot.

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
CROPS = 16  # sizes of crops that are asked for
SAMPLES_A_CELL = {2: 32, 3: 8}  # 32: the published 7 -> 224; 8 keeps a 3D map of 12 cells at 96^3


def heat_map(features: Sequence[Tensor], level: Level | None = "auto") -> Tensor:
    """Sum over channels after ReLU: features (B,C_i,*S_i), fine to coarse -> (B,*s) float32.

    `auto`, or None, is the deepest level with at least 6 cells on every axis (2 or 3 cells of a deep 3D level say
    nothing), or the finest one. `deepest` is as published; a number is an index into the levels.
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


def spread(heat: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Min-max at low resolution, then linear up-sampling: map (*s) -> (*size) in 0..1; NaN where it is constant."""
    low, high = heat.min(), heat.max()
    return _upsample((heat - low) / (high - low), size)


def _upsample(cells: Tensor, size: Sequence[int] | None) -> Tensor:
    dims = cells.ndim
    size = size or [n * SAMPLES_A_CELL[dims] for n in cells.shape]
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
    """Box around all cells above the threshold: map (*s) -> (2n,) float64.

    `size` is that of the image that gave the map. `box_upper` index is as published: last index / size, never 1.
    `percentile` replaces the threshold by that percentile of the up-sampled map. The box is cut to `foreground` (2n,)
    and then grown to `min_side`; where they are apart, what is hot lies outside the body, and `largest_box` is taken.
    Cells that are not `inside` (*s) count as the coldest that is, unless none is.
    NaN if the map is constant, not finite or nowhere above the threshold.
    """
    cells = heat
    if inside is not None and bool(inside.any()):
        cells = torch.where(inside, heat, heat[inside].min())
    hot, least = spread(cells, size), threshold
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
    """How far the box of a map of `shape` can reach by the same rule: (2n,) float64, that of one hot all over `inside`.

    With `percentile`, which leaves the threshold open, that of all cells above the coldest. NaN as for a map.
    """
    return _fit(_reach(shape, size, threshold, box_upper, percentile, inside), foreground, min_side)


def volume(boxes: Tensor) -> Tensor:
    """Share of the array that boxes (N,2n) hold: (N,)."""
    low, high = boxes.chunk(2, 1)
    return (high - low).prod(1)


def covers(boxes: Tensor, others: Tensor) -> Tensor:
    """Which of the boxes (N,2n) hold all of the other in their row: (N,) bool."""
    (low, high), (first, last) = boxes.chunk(2, 1), others.chunk(2, 1)
    return ((low <= first) & (high >= last)).all(1)


def guided(boxes: Tensor, scale: tuple[float, float]) -> float:
    """Share of crops whose centre the boxes (N,2n) keep from where it could be; their volume is uniform in `scale`.

    A crop of `side` has its centre in [side/2, 1 - side/2]: a box with no edge in there changes nothing. Crops count as
    being of the array's shape.
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
    """Box (2,n) around what is above the threshold; NaN if nothing is."""
    low, high = [], []
    for axis in range(hot.ndim):
        kept = (hot.amax([i for i in range(hot.ndim) if i != axis]) > threshold).nonzero().flatten()
        if not len(kept):
            return torch.full((2, hot.ndim), torch.nan, dtype=torch.float64)
        low.append(kept[0].item() / hot.shape[axis])
        high.append((kept[-1].item() + (box_upper == "edge")) / hot.shape[axis])
    return torch.tensor([low, high], dtype=torch.float64)


def _fit(box: Tensor, foreground: Tensor | None, min_side: float) -> Tensor:
    """Cut a (2,n) box to the foreground, which it becomes if they are apart, and grow it: (2n,)."""
    if foreground is not None and not bool(box.isnan().any()):
        body = foreground.double().reshape(2, -1)
        both = torch.stack([torch.maximum(box[0], body[0]), torch.minimum(box[1], body[1])])
        box = body if _apart(box, foreground) else both
    return _grow(box, min_side).flatten()


def _apart(box: Tensor, foreground: Tensor) -> bool:
    """Whether a (2,n) box and a (2n,) one share nothing; one of NaN is apart from none."""
    low, high = foreground.double().reshape(2, -1)
    return bool((torch.maximum(box[0], low) >= torch.minimum(box[1], high)).any())


def _grow(box: Tensor, min_side: float) -> Tensor:
    """Lengthen the short sides of a (2,n) box about its centre, shifted to stay in 0..1."""
    short = box[1] - box[0] < min_side
    low = (box.mean(0) - min_side / 2).clamp(0, 1 - min_side)
    return torch.where(short, torch.stack([low, low + min_side]), box)
