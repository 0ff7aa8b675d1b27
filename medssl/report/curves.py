"""Curves of a run, one small SVG per name, from its metrics.jsonl."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from medssl.report.names import chance, meaning
from medssl.report.parts import encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matplotlib.axes import Axes

INK, FAINT, CHANCE = "#1f4e79", "#a9c1d9", "#b3541e"
FEW = 12  # points that are marked: fewer make a line that hides how few they are
MOST = 400  # points of a curve that are drawn
COUNTS = ("metric.val_images", "metric.val_negatives", "metric.val_lesions")  # the same at every step
HIDDEN = ("metric.chance", "metric.best", "lr", *COUNTS)  # the others: drawn into another chart, or the same as another
METADATA = re.compile(r"<metadata>.*?</metadata>", re.S)  # says no more than that it is an SVG
STYLE: dict[Any, Any] = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}


class Chart(NamedTuple):
    """A curve as base64 SVG; its name as it is logged, and in words."""

    name: str
    title: str
    caption: str
    svg: str


def names(lines: list[dict[str, Any]], prefixes: Iterable[str]) -> list[str]:
    """The logged names that start with one of `prefixes`, in order of first appearance."""
    found: dict[str, None] = {}
    for line in lines:
        for name, value in line.items():
            if name.startswith(tuple(prefixes)) and isinstance(value, int | float):
                found[name] = None
    return list(found)


def charts(lines: list[dict[str, Any]], prefixes: Iterable[str] = ("loss.", "metric.")) -> list[Chart]:
    """One chart per name; the chance level is drawn into those that have one."""
    return [_chart(lines, name) for name in names(lines, prefixes) if name not in HIDDEN]


def _chart(lines: list[dict[str, Any]], name: str) -> Chart:
    found = meaning(name)
    return Chart(name, found.title, found.text, svg(name, lambda axes: draw(axes, lines, name)))


def svg(name: str, draw: Callable[[Axes], None]) -> str:
    """A small chart as base64 SVG; the same `name` and drawing give the same bytes."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no window

    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(3.4, 1.9), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return encoded(METADATA.sub("", buffer.getvalue()).encode())


def draw(axes: Axes, lines: list[dict[str, Any]], name: str) -> None:
    """One curve: faint every logged step, strong smoothed, dashed the chance level."""
    steps, values = series(lines, name)
    shown = slice(None, None, max(1, len(steps) // MOST))
    marker = "o" if len(steps) < FEW else None
    axes.plot(steps[shown], values[shown], color=FAINT, linewidth=0.8)
    axes.plot(steps[shown], smooth(values)[shown], color=INK, linewidth=1.4, marker=marker, markersize=3)
    at, level = chance(name, lines)
    if at:
        axes.plot(at[shown], level[shown], color=CHANCE, linewidth=1, linestyle="--", label="chance")
        axes.legend(frameon=False, fontsize=7)
    axes.set_xlabel("step", fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))


def series(lines: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one name, where it was logged; what is not finite becomes NaN, a gap in the curve."""
    pairs = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
    array = np.array(pairs, dtype=float).reshape(-1, 2)
    return array[:, 0], np.where(np.isfinite(array[:, 1]), array[:, 1], np.nan)


def smooth(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """A centred mean over a window of `share` of the curve; the window shrinks at the ends, so ends stay honest.

    NaN stays NaN, and is left out of the means beside it.
    """
    half = int(len(values) * share / 2)
    means = [
        np.nan if np.isnan(v) else np.nanmean(values[max(0, i - half) : i + half + 1]) for i, v in enumerate(values)
    ]
    return np.array(means)
