"""Contact sheets: the training views of a few samples, to see at a glance whether a recipe makes sense.

One band per sample: the source with the outlines of its views, then target, input and their difference. For a volume
the band has three rows, axial, coronal and sagittal, through slices that show the corruption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure  # no pyplot: no global state, no window
from matplotlib.lines import Line2D

from medssl.report import captions
from medssl.report.panels import (
    BEYOND,
    BOX,
    COLOURS,
    CUT,
    DIFFERENCE,
    GROUND,
    TWO_SIDED,
    draw_frames,
    draw_source,
    draw_view,
)
from medssl.report.view_geometry import geometry, source_cuts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from torch import Tensor

    from medssl.types import View
    from medssl.view_dataset import Sample, ViewsDataset

INK, FAINT = "#1c2733", "#5f6b77"
CELL, GAP, GROUP = 1.5, 0.05, 0.2  # inches: a panel, between panels, between groups of panels
LEFT, MARGIN, HEAD, LABEL, CAPTION = 0.34, 0.16, 1.72, 0.26, 0.50
PLANES = {2: ("",), 3: ("axial", "coronal", "sagittal")}


class Column(NamedTuple):
    """A column of panels, `x` inches from the left; `view` is None for the source."""

    x: float
    kind: str
    view: int | None


class Sheet:
    """A figure whose parts are placed in inches from the top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")

    def panel(self, x: float, y: float, width: float = CELL, height: float = CELL) -> Axes:
        """Empty axes with a plain background."""
        bottom = (self.height - y - height) / self.height
        axes = self.figure.add_axes(
            (x / self.width, bottom, width / self.width, height / self.height), facecolor=GROUND
        )
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def text(self, x: float, y: float, words: str, **style: Any) -> None:
        """Text with its top left corner at (x, y)."""
        where = {"va": "top", "ha": "left", "color": INK, "fontsize": 7, **style}
        self.figure.text(x / self.width, 1 - y / self.height, words, **where)

    def line(self, x: float, y: float, length: float, colour: str, style: Any = "-") -> None:
        """A horizontal line from (x, y)."""
        ends = [x / self.width, (x + length) / self.width], [1 - y / self.height] * 2
        self.figure.add_artist(Line2D(*ends, color=colour, linewidth=2, linestyle=style))


def contact_sheet(
    data: ViewsDataset,
    numbers: Sequence[int],
    *,
    epoch: int = 0,
    heat: Mapping[int, Tensor] | None = None,
    title: str = "views",
    about: str = "",
) -> Figure:
    """Draw the samples `numbers` of `data` with their training views in `epoch`.

    `heat` maps sample numbers to heat maps of low resolution (*s); boxes are those of the crop policy, if it has any.
    `about` is printed under the title. Views after the second are shown as input only.
    """
    samples = [data[epoch, number] for number in numbers]
    views = samples[0].views
    planes = PLANES[views[0].x.ndim - 1]
    columns = _columns(len(views), heat is not None)
    band = LABEL + len(planes) * (CELL + GAP) + CAPTION
    sheet = Sheet(max(columns[-1].x + CELL + MARGIN, 8.5), HEAD + band * len(samples))
    sheet.text(LEFT, 0.14, title, fontsize=13, fontweight="bold")
    sheet.text(LEFT, 0.43, about, fontsize=8, color=FAINT)
    _head(sheet, columns, views, data)
    for number, sample in enumerate(samples):
        map_ = None if heat is None else heat[sample.number]
        _band(sheet, columns, HEAD + number * band, data, sample, map_)
    return sheet.figure


def _columns(views: int, heat: bool) -> list[Column]:
    kinds: list[tuple[str, int | None]] = [("source", None), *[("heat map", None)] * heat]
    for view in range(views):
        kinds += [(kind, view) for kind in (("target", "input", "input − target") if view < 2 else ("input",))]
    columns: list[Column] = []
    x = LEFT
    for kind, of in kinds:
        x += GROUP if columns and columns[-1].view != of else 0
        columns.append(Column(x, kind, of))
        x += CELL + GAP
    return columns


def _head(sheet: Sheet, columns: list[Column], views: Sequence[View], data: ViewsDataset) -> None:
    x, y = LEFT, 0.89
    for colour, style, words in _legend(views, data):
        sheet.line(x, y, 0.22, colour, style)
        sheet.text(x + 0.28, y, words, va="center")
        x += 0.46 + 0.051 * len(words)
    x, y = LEFT, 1.09
    bar = sheet.panel(x, y - 0.05, 0.5, 0.1)
    bar.imshow(np.linspace(-1, 1, 64)[None], cmap=TWO_SIDED, aspect="auto")
    channel = ", in the channel that changed most" if len(views[0].x) > 1 else ""
    words = (
        f"input darker / brighter than target; colours saturate at a difference of {DIFFERENCE} (images: 0..1){channel}"
    )
    sheet.text(x + 0.56, y, words, va="center")
    for column in columns:
        sheet.text(column.x + CELL / 2, HEAD - 0.16, column.kind, ha="center", fontsize=8)
        if column.kind == "target" or (column.kind == "input" and (column.view or 0) > 1):
            _view_head(sheet, column, views)


def _view_head(sheet: Sheet, column: Column, views: Sequence[View]) -> None:
    view, panels = column.view or 0, 3 if column.kind == "target" else 1
    size = " × ".join(str(n) for n in views[view].x.shape[1:])
    words = f"view {view + 1}" + (f"  ·  {size}" + ("  ·  restored" if view == 0 else "") if panels > 1 else "")
    sheet.text(column.x, HEAD - 0.46, words, fontsize=9, fontweight="bold", color=COLOURS[view % len(COLOURS)])
    sheet.line(column.x, HEAD - 0.24, panels * (CELL + GAP) - GAP, COLOURS[view % len(COLOURS)])


def _legend(views: Sequence[View], data: ViewsDataset) -> list[tuple[str, Any, str]]:
    found: list[tuple[str, Any, str]] = [
        (COLOURS[i % len(COLOURS)], "-", f"outline of view {i + 1}") for i in range(len(views))
    ]
    if views[0].x.ndim == 4:
        found.append((FAINT, BEYOND, "view outside this slice"))
        found.append(
            (FAINT, CUT, "slices shown of the view, chosen to show the corruption; the source is cut with view 1")
        )
    if _box(data, 0) is not None:
        found.append((BOX, "-", "box of the crop centres"))
    return found


def _band(
    sheet: Sheet, columns: list[Column], top: float, data: ViewsDataset, sample: Sample, heat: Tensor | None
) -> None:
    case = data.cache.cases[data.ids[sample.number]]
    source, planes = data.cache.image(case.id), PLANES[len(case.shape)]
    places, box = [geometry(view, case) for view in sample.views], _box(data, sample.number)
    slices = source_cuts(places[0], case.shape)
    below = top + LABEL + len(planes) * (CELL + GAP)
    sheet.text(LEFT, top + 0.07, captions.sample(case), fontsize=8)
    for axis, plane in enumerate(planes):
        y = top + LABEL + axis * (CELL + GAP)
        sheet.text(LEFT - 0.06, y + CELL / 2, plane, rotation=90, ha="right", va="center", color=FAINT)
        for column in columns:
            axes = sheet.panel(column.x, y)
            if column.view is None:
                draw_source(axes, source, case, axis, slices[axis], heat if column.kind == "heat map" else None)
                draw_frames(axes, places, case.shape, axis, slices[axis], box, column.kind)
            else:
                draw_view(axes, sample.views[column.view], axis, places[column.view].cuts[axis], column.kind)
    for column in columns:
        if column.view is not None:
            words = captions.under(column.kind, sample.views[column.view], data.maker.preset.corrupt)
            sheet.text(column.x, below, words, fontsize=6, color=FAINT)


def _box(data: ViewsDataset, number: int) -> np.ndarray | None:
    box = data.policy.box(number)
    return None if box is None else np.reshape(box, (2, -1))
