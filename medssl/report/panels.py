"""One panel of a contact sheet: a slice of the source, of a view, or of a difference.

Volumes are shown in radiological convention: patient's right on the left, head and front up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.crop.heat import normalized_map
from medssl.report.view_geometry import cut_lines, outline
from medssl.views import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from torch import Tensor

    from medssl.data.cache import Case
    from medssl.report.view_geometry import ViewGeometry
    from medssl.types import View

COLOURS = ("#2f8fe0", "#f08c00", "#12a37a", "#8c5fd3", "#c9a800")  # one per view
BOX = "#ff4fa3"
GROUND = "#dfe6ec"  # background: neither black nor white, as images often are
BEYOND: Any = (0, (2.2, 1.6))  # dashes: the view does not intersect the slice
CUT: Any = (0, (0.8, 1.4))  # dots: where the view is cut
DIFFERENCE = 0.5  # the largest difference that the colours show
TWO_SIDED = "RdBu_r"


def draw_source(axes: Axes, source: Any, case: Case, axis: int, at: int, heat: Tensor | None) -> None:
    """Draw slice `at` across `axis` in physical proportions, with the heat map over it."""
    dims = len(case.shape)
    part = [slice(None)] * (dims + 1)
    if dims == 3:
        part[axis + 1] = slice(at, at + 1)
        number(axes, at, case.shape[axis])
    image = scaled(np.asarray(source[tuple(part)]).astype(np.float32), case.intensity)
    shown = _show(axes, cut(image, axis, 0), dims)
    if heat is not None:
        map_ = normalized_map(heat).numpy()[None]
        over = cut(map_, axis, int((at + 0.5) / case.shape[axis] * map_.shape[axis + 1]))[0]
        axes.imshow(over, cmap="inferno", vmin=0, vmax=1, alpha=0.55, extent=shown.get_extent(), origin=shown.origin)
    rows, columns = (case.spacing[i] for i in _plane(case.shape, axis))
    _orient(axes, dims, rows / columns)


def draw_view(axes: Axes, view: View, axis: int, at: int, kind: str) -> None:
    """Draw slice `at` across `axis` of a view's target or input, or of their difference."""
    dims = view.x.ndim - 1
    if kind == "input − target":
        limits: Any = {"cmap": TWO_SIDED, "vmin": -DIFFERENCE, "vmax": DIFFERENCE}
        difference = strongest(cut(view.seen - view.target, axis, at))
        axes.imshow(difference, origin="upper" if dims == 2 else "lower", **limits)
    else:
        _show(axes, cut(view.target if kind == "target" else view.seen, axis, at), dims)
        if dims == 3 and kind == "target":
            number(axes, at, view.x.shape[axis + 1])
    _orient(axes, dims, 1.0)


def strongest(difference: np.ndarray) -> np.ndarray:
    """For each pixel of (C,Y,X) the difference of the channel that changed most (Y,X). A mean would hide colour."""
    return np.take_along_axis(difference, np.abs(difference).argmax(0)[None], 0)[0]


def cut(image: np.ndarray, axis: int, at: int) -> np.ndarray:
    """Slice `at` of (C,*S) across `axis`; a 2D image (C,Y,X) unchanged."""
    return image if image.ndim == 3 else image.take(at, axis + 1)


def number(axes: Axes, at: int, of: int) -> None:
    """Write the number of the slice, counted from 1, in the corner."""
    ground = {"facecolor": "black", "edgecolor": "none", "alpha": 0.6, "pad": 1.2}
    words = f"{at + 1}/{of}"
    axes.text(0.03, 0.97, words, transform=axes.transAxes, va="top", color="white", fontsize=5.5, bbox=ground)


def _show(axes: Axes, image: np.ndarray, dims: int) -> AxesImage:
    """Three channels as RGB, else the first one in gray."""
    colour = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    return axes.imshow(colour, cmap="gray", vmin=0, vmax=1, origin="upper" if dims == 2 else "lower")


def _orient(axes: Axes, dims: int, aspect: float) -> None:
    """Keep proportions on a square background; in 3D, columns run to the patient's right or front, so mirror them."""
    axes.set_aspect(aspect, adjustable="datalim")
    axes.xaxis.set_inverted(dims == 3)


def _plane(shape: Sequence[int], axis: int) -> list[int]:
    """The two displayed axes: rows, columns."""
    return [i for i in range(len(shape)) if len(shape) == 2 or i != axis]


def draw_frames(
    axes: Axes,
    places: Sequence[ViewGeometry],
    shape: tuple[int, ...],
    axis: int,
    at: int,
    box: np.ndarray | None,
    kind: str,
) -> None:
    """Draw the outlines of the views and of the slices shown on a slice of the source, and the box of crop centres.

    Voxel i covers i - 1/2 to i + 1/2. Parts of a view outside the image are outlined too, in a wider panel.
    """
    outlines = [outline(where, axis, at) for where in places]
    for i, (where, found) in enumerate(zip(places, outlines, strict=True) if kind == "source" else ()):
        colour = COLOURS[i % len(COLOURS)]
        _lines(axes, found.lines, colour, "-" if found.meets else BEYOND, 1.6, f"view {i + 1}")
        if found.meets and len(shape) == 3:
            _lines(axes, cut_lines(where, axis, at), colour, CUT, 0.9, f"cut {i + 1}")
    if box is not None:
        (top, left), (bottom, right) = (box * np.asarray(shape))[:, _plane(shape, axis)] - 0.5
        corners = [[top, left], [top, right], [bottom, right], [bottom, left], [top, left]]
        _lines(axes, [np.array(corners)], BOX, "-", 1.6, "box")
    _hold(axes, [line for found in outlines for line in found.lines])


def _lines(axes: Axes, lines: Sequence[np.ndarray], colour: str, style: Any, width: float, name: str) -> None:
    for line in lines:
        axes.plot(line[:, 1], line[:, 0], color=colour, linestyle=style, linewidth=width, label=name, scalex=False,
                  scaley=False)  # fmt: skip


def _hold(axes: Axes, lines: Sequence[np.ndarray]) -> None:
    """Widen the panel to contain the outlines; the direction of its axes stays."""
    every = np.concatenate(lines) if lines else np.empty((0, 2))
    for ends, get, put in ((every[:, 1], axes.get_xlim, axes.set_xlim), (every[:, 0], axes.get_ylim, axes.set_ylim)):
        low, high = sorted(get())
        low, high = min([low, *ends]), max([high, *ends])
        rim = 0.01 * (high - low)  # so that a line at the edge is not cut
        both = low - rim, high + rim
        put(*(both if get()[0] < get()[1] else both[::-1]), auto=True)
