"""Resampling: crop, flip, 90-degree turn, rotation, zoom, elastic deformation and resize as one map, sampled once.

Output voxel o (index order) comes from source voxel

    p(o) = matrix @ o + offset + elastic(o)

where elastic is a coarse control grid of displacements, linearly interpolated over the output (its corner points lie on
the corner voxels). The grid is interpolated along x once, along z once per plane and along y once per row, which makes
resampling cheap. Downscaling samples points without averaging and therefore aliases by more than 2, unless
`average` is set. A NaN in the source stays visible: exactly the output voxels with it among their 2^n neighbours are
NaN.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from medssl.transforms.arguments import Fill, fill_value
from medssl.transforms.resampling import reach
from medssl.transforms.resampling.blocks import block_means
from medssl.transforms.resampling.displacement import draw_elastic, draw_transvw, evaluate, rotation
from medssl.transforms.resampling.kernel import linear_rows, nearest_rows
from medssl.types import InputError, Window

DIRECT = (np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.float32))  # types that the compiled loops accept


class WarpSettings(NamedTuple):
    """Ranges of the random geometry. All is drawn uniformly; lengths and angles are physical, for any spacing."""

    flip: tuple[float, ...]  # probability of a flip along each axis, index order
    rotate: tuple[float, ...] = ()  # degrees, up to: in 2D one angle; in 3D about each axis, index order
    zoom: float = 0.0  # fraction: the zoom is in [1 - zoom, 1 + zoom]
    elastic: float | Literal["transvw"] = 0.0  # mm: the mean displacement over the view is in [0, elastic]
    turn: bool = False  # quarter turns in the plane of the last two axes
    fill: Literal["edge", "reflect"] = "edge"  # outside the image: its border voxels, or its mirror image


class Warp(NamedTuple):
    """A map from output voxels to source voxels, both in index order."""

    matrix: np.ndarray  # (n,n) float64
    offset: np.ndarray  # (n,) float64
    control: np.ndarray | None  # (n,*grid) float32 displacement in source voxels, at least two points per axis
    size: tuple[int, ...]  # output size


def warp(source: Any, w: Warp, *, order: Literal[0, 1] = 1, fill: Fill = "edge", average: bool = False) -> np.ndarray:
    """Sample `source` (C,*S) at the map `w` -> (C,*size): linear to float32 (order 1) or nearest, same type (order 0).

    Args:
        source: anything that has a shape and slices to numpy; only the region that the map touches is read.
        w: the map.
        order: 1: linear, to float32. 0: nearest, with the type of the source.
        fill: value of output voxels that lie more than half a voxel outside: a number, "edge" (the nearest voxel), or
            "reflect" (the mirror image at the faces of the image).
        average: for order 1: first average blocks of voxels, as large as the integer part of the downscaling along each
            axis, if that is 2 or more.

    Raises InputError if the map has another number of axes than the source or is not finite, and if the type of the
    source cannot hold `fill`.

    >>> half = Warp(np.eye(2) * 2, np.array([0.5, 0.5]), None, (2, 2))
    >>> warp(np.arange(16.0).reshape(1, 4, 4), half).tolist()
    [[[2.5, 4.5], [10.5, 12.5]]]
    """
    return sample(*cut(source, w, order=order, fill=fill, average=average), order=order, fill=fill)


def sample(region: np.ndarray, w: Warp, *, order: Literal[0, 1] = 1, fill: Fill = "edge") -> np.ndarray:
    """Sample the result of `cut` as `warp` does: region (C,*R) and the map into it -> (C,*size)."""
    kind = np.dtype(np.float32) if order == 1 else region.dtype
    beyond = 0.0 if isinstance(fill_value("fill", fill, kind), str) else fill
    if region.dtype == np.float16:  # the compiled loops do not accept it
        region = region.astype(np.float32)
    out = np.empty((region.shape[0], *w.size), np.float32 if order == 1 else region.dtype)
    rows = linear_rows if order == 1 else nearest_rows
    source3, matrix, offset, control, out3 = _lift(region, w, out)
    rows(source3, matrix, offset, control, out3, fill == "reflect", not isinstance(fill, str), out.dtype.type(beyond))
    return out.astype(kind, copy=False)


def cut(
    source: Any, w: Warp, *, order: Literal[0, 1] = 1, fill: Fill = "edge", average: bool = False
) -> tuple[np.ndarray, Warp]:
    """Read the region of `source` (C,*S) that `warp` needs, and return it with the map into it.

    The region has native byte order and, for order 1, a type in `DIRECT`.
    """
    n, shape = len(w.size), tuple(source.shape[1:])
    if len(source.shape) != n + 1:
        raise InputError(
            f"the map has {n} axes but the source has shape {tuple(source.shape)}: give (C,*S) with {n} axes after C"
        )
    steps = reach.steps(w.matrix) if average and order == 1 else [1] * n
    low, high = reach.box(
        w.matrix, w.offset, w.control, w.size, shape, [(step - 1) / 2 for step in steps], reflect=fill == "reflect"
    )
    high = [min(b + (a - b) % step, side) for a, b, step, side in zip(low, high, steps, shape, strict=True)]
    region = np.ascontiguousarray(
        source[(slice(None), *map(slice, low, high))]
    )  # whole blocks, if the image contains them
    if region[0].size >= 2**32:
        raise InputError(f"the map touches {region[0].size} voxels, 2**32 or more: crop or resample the source first")
    if order == 1 and region.dtype not in DIRECT:
        region = region.astype(np.float32)
    elif not region.dtype.isnative:
        region = region.astype(region.dtype.newbyteorder("="))
    w = w._replace(offset=w.offset - low)
    return _averaged(region, w, np.array(steps)) if max(steps) > 1 else (region, w)


def _averaged(region: np.ndarray, w: Warp, factor: np.ndarray) -> tuple[np.ndarray, Warp]:
    """Average blocks of `factor` voxels; returns the means and the map into them."""
    n = len(w.size)
    means = np.empty((len(region), *-(-np.asarray(region.shape[1:]) // factor)), np.float32)
    flat = (slice(None), *[None] * (3 - n))
    block_means(region[flat], np.concatenate([np.ones(3 - n, np.int64), factor]), means[flat])
    control = None if w.control is None else w.control / factor.reshape(-1, *[1] * n).astype(np.float32)
    return means, Warp(w.matrix / factor[:, None], (w.offset - (factor - 1) / 2) / factor, control, w.size)


def _lift(region: np.ndarray, w: Warp, out: np.ndarray) -> tuple[np.ndarray, ...]:
    """Source, matrix, offset, control and output in 3D; a 2D image gets thickness one, so that one kernel does both."""
    n = len(w.size)
    matrix, offset = np.eye(3), np.zeros(3)
    matrix[3 - n :, 3 - n :], offset[3 - n :] = w.matrix, w.offset
    grid = (2,) * n if w.control is None else w.control.shape[1:]
    control = np.zeros((3, *(1,) * (3 - n), *grid), np.float32)
    if w.control is not None:
        control[3 - n :] = w.control.reshape(n, *control.shape[1:])
    flat = (slice(None), *[None] * (3 - n))
    return region[flat], matrix, offset, control, out[flat]


def draw_warp(
    rng: np.random.Generator,
    window: Window,
    size: tuple[int, ...],
    spacing: tuple[float, ...],
    settings: WarpSettings,
) -> tuple[Warp, dict[str, Any]]:
    """Draw a map from `window` of a source with `spacing` (mm, index order) to a view of `size`; returns map and draws.

    `compose(window, size, spacing, **draws)` gives the same map again. `elastic_mm` among the draws is the actual mean
    displacement of the view: that drawn from `settings`, or less if the map would fold.
    """
    n = len(size)
    flips = rng.random(n) < np.asarray(settings.flip)
    turn = int(rng.integers(4)) if settings.turn else 0
    limit = np.asarray(settings.rotate or (0.0,) * (1 if n == 2 else 3))
    angles = rng.uniform(-1, 1, len(limit)) * limit
    zoom = 1 + rng.uniform(-1, 1) * settings.zoom
    drawn = {"flip": flips.tolist(), "turn": turn, "angles": angles.tolist(), "zoom": zoom}
    drawn |= {"elastic": None, "elastic_mm": 0.0}
    extent = np.asarray(window.size) * np.asarray(spacing) * (np.asarray(window.size) > 1)
    if settings.elastic == "transvw":
        drawn["shift"] = draw_transvw(rng, size)
        mm = np.asarray(window.size) * np.asarray(spacing) / np.asarray(size)
        drawn["elastic_mm"] = float(np.linalg.norm(drawn["shift"] * mm.reshape(-1, *[1] * n), axis=0).mean())
    elif settings.elastic and extent.any():
        elastic, drawn["elastic_mm"] = draw_elastic(rng, extent, rng.uniform(0, settings.elastic))
        # The grid follows the axes of the view, which a turn exchanges.
        drawn["elastic"] = elastic.swapaxes(-2, -1) if turn % 2 else elastic
    return compose(window, size, spacing, **drawn), drawn


def compose(
    window: Window,
    size: tuple[int, ...],
    spacing: tuple[float, ...],
    *,
    flip: tuple[bool, ...] | list[bool] = (),
    turn: int = 0,
    angles: tuple[float, ...] | list[float] = (),
    zoom: float = 1.0,
    elastic: np.ndarray | None = None,
    elastic_mm: float = 1.0,
    shift: np.ndarray | None = None,
) -> Warp:
    """Compose the map of a view: window, zoom and rotation about its centre (in mm), turns, flips, resize.

    Args:
        window, size, spacing: window in the source, size of the view, spacing in mm, all in index order.
        flip: which axes of the view are flipped.
        turn: number of 90-degree turns of the view; if its sides differ in length, a turn stretches the image.
        angles, zoom: of the rotation, in degrees, and the factor by which the image is magnified.
        elastic, elastic_mm: B-spline coefficients (n,*g) of a displacement of mean length 1 mm, and its length then.
        shift: instead of `elastic`, a displacement (n,*g) in voxels of the view.
    """
    n = len(size)
    sides, mm = np.asarray(window.size, float), np.asarray(spacing, float)
    matrix = rotation(angles, n) / zoom * (sides * mm)
    if turn % 4 or any(flip):
        turned = np.eye(n)
        for _ in range(turn % 4):
            turned[[-2, -1]] = turned[[-1, -2]] * np.array([[1], [-1]])
        matrix = matrix @ (turned * np.where(np.asarray(flip or (False,) * n), -1.0, 1.0))
    matrix = matrix / mm[:, None]
    centre = np.asarray(window.start) + sides / 2 - 0.5
    half = 0.5 / np.asarray(size) - 0.5
    control = None
    if elastic is not None:
        control = (evaluate(elastic) * elastic_mm / mm.reshape(-1, *[1] * n)).astype(np.float32)
    elif shift is not None:
        control = np.tensordot(matrix / np.asarray(size), shift, 1).astype(np.float32)
    return Warp(matrix / np.asarray(size), centre + matrix @ half, control, tuple(size))
