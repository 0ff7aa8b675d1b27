"""What stands in one panel of a contact sheet: a slice of the source, of a view, or of a difference.

A volume is cut in the middle and shown as radiologists look at it: patient's right on the left, head and front up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle

from medssl.crop.heat import spread
from medssl.views import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from torch import Tensor

    from medssl.data.cache import Case
    from medssl.types import View

COLOURS = ("#2f8fe0", "#f08c00", "#12a37a", "#8c5fd3", "#c9a800")  # a view each
BOX = "#ff4fa3"
BEYOND: Any = (0, (2.2, 1.6))  # dashes: the window does not meet the slice
DIFFERENCE = 0.5  # where the colours of the difference end
TWO_SIDED = "RdBu_r"


def draw_source(axes: Axes, source: Any, case: Case, axis: int, heat: Tensor | None) -> None:
    """The middle slice across `axis`, in physical proportions, and the heat map over it."""
    at = [slice(None)] * (len(case.shape) + 1)
    if len(case.shape) == 3:
        at[axis + 1] = slice(case.shape[axis] // 2, case.shape[axis] // 2 + 1)
    image = scaled(np.asarray(source[tuple(at)]).astype(np.float32), case.intensity)
    rows, columns = (case.spacing[i] for i in _plane(case.shape, axis))
    shown = _show(axes, _middle(image, axis), len(case.shape))
    if heat is not None:
        map_ = _middle(spread(heat).numpy()[None], axis)[0]
        axes.imshow(map_, cmap="inferno", vmin=0, vmax=1, alpha=0.55, extent=shown.get_extent(), origin=shown.origin)
    _orient(axes, len(case.shape), rows / columns)


def draw_view(axes: Axes, view: View, axis: int, kind: str) -> None:
    """The middle slice across `axis` of a view's target or input, or of their difference, averaged over channels."""
    dims = view.x.ndim - 1
    if kind == "input − target":
        difference = _middle(view.x - view.target, axis).mean(0)
        axes.set_facecolor("#f7f7f7")  # no difference
        limits: Any = {"cmap": TWO_SIDED, "vmin": -DIFFERENCE, "vmax": DIFFERENCE}
        axes.imshow(difference, origin="upper" if dims == 2 else "lower", **limits)
    else:
        _show(axes, _middle(view.target if kind == "target" else view.x, axis), dims)
    _orient(axes, dims, 1.0)


def _show(axes: Axes, image: np.ndarray, dims: int) -> AxesImage:
    """Three channels as RGB, else the first one in gray."""
    colour = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    return axes.imshow(colour, cmap="gray", vmin=0, vmax=1, origin="upper" if dims == 2 else "lower")


def _orient(axes: Axes, dims: int, aspect: float) -> None:
    """Keep proportions on a square ground; in 3D columns run to the patient's right or front: mirror them."""
    axes.set_aspect(aspect, adjustable="datalim")
    axes.xaxis.set_inverted(dims == 3)


def _middle(image: np.ndarray, axis: int) -> np.ndarray:
    """The middle slice of (C,*S) across `axis`; an image (C,Y,X) as it is."""
    return image if image.ndim == 3 else image.take(image.shape[axis + 1] // 2, axis + 1)


def _plane(shape: Sequence[int], axis: int) -> list[int]:
    """The two axes that are seen: rows, columns."""
    return [i for i in range(len(shape)) if len(shape) == 2 or i != axis]


def draw_frames(
    axes: Axes, views: Sequence[View], shape: tuple[int, ...], axis: int, box: np.ndarray | None, kind: str
) -> None:
    """Outline the windows (source) or the box (both) in voxels; an image's voxel i covers i - 1/2 to i + 1/2."""
    seen = _plane(shape, axis)
    for i, view in enumerate(views if kind == "source" else ()):
        start, size = np.asarray(view.window.start), np.asarray(view.window.size)
        meets = len(shape) == 2 or start[axis] <= shape[axis] // 2 < start[axis] + size[axis]
        _frame(axes, start[seen], size[seen], COLOURS[i % len(COLOURS)], "-" if meets else BEYOND)
    if box is not None:
        low, high = box * np.asarray(shape)
        _frame(axes, low[seen], (high - low)[seen], BOX, "-")


def _frame(axes: Axes, start: np.ndarray, size: np.ndarray, colour: str, style: Any) -> None:
    corner = (start[1] - 0.5, start[0] - 0.5)
    axes.add_patch(
        Rectangle(corner, size[1], size[0], fill=False, edgecolor=colour, linewidth=1.6, linestyle=style, clip_on=False)
    )
