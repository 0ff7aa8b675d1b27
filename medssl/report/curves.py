"""Curves of a run from its metrics.jsonl, one small plot per name."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

INK, FAINT, CHANCE = "#1f4e79", "#a9c1d9", "#b3541e"
FEW = 12  # up to this many points are marked, as a line alone hides how few there are


def names(lines: list[dict[str, Any]], prefixes: Iterable[str]) -> list[str]:
    """The logged names that start with one of `prefixes`, in order of first appearance."""
    found: dict[str, None] = {}
    for line in lines:
        for name, value in line.items():
            if name.startswith(tuple(prefixes)) and isinstance(value, int | float):
                found[name] = None
    return list(found)


def curves(lines: list[dict[str, Any]], prefixes: Iterable[str] = ("loss.", "metric.")) -> bytes | None:
    """A PNG with one curve per name; None if nothing was logged. The discrimination loss has its chance level."""
    shown = [name for name in names(lines, prefixes) if name != "metric.chance"]
    if not shown:
        return None
    from matplotlib.figure import Figure  # no pyplot: no global state, no window

    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3.4 * columns, 2.1 * rows), layout="constrained")
        for index, name in enumerate(shown):
            _draw(figure.add_subplot(rows, columns, index + 1), lines, name)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw(axes: Axes, lines: list[dict[str, Any]], name: str) -> None:
    steps, values = series(lines, name)
    axes.plot(steps, values, color=FAINT, linewidth=0.8)
    axes.plot(steps, smooth(values), color=INK, linewidth=1.4, marker="o" if len(steps) < FEW else None, markersize=3)
    if name == "loss.discrimination":
        chance_steps, chance = series(lines, "metric.chance")
        axes.plot(chance_steps, chance, color=CHANCE, linewidth=1, linestyle="--", label="chance")
        if len(chance):
            axes.legend(frameon=False, fontsize=7)
    axes.set_title(name, loc="left", fontsize=8)
    axes.set_xlabel("step", fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))


def series(lines: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one name where it was logged; values that are not finite become NaN, a gap in the curve."""
    pairs = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
    array = np.array(pairs, dtype=float).reshape(-1, 2)
    return array[:, 0], np.where(np.isfinite(array[:, 1]), array[:, 1], np.nan)


def smooth(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """A centred moving average over `share` of the curve; the window shrinks at the ends, so they are not biased.

    NaN stays NaN, and does not count in the averages beside it.
    """
    half = int(len(values) * share / 2)
    means = [
        np.nan if np.isnan(v) else np.nanmean(values[max(0, i - half) : i + half + 1]) for i, v in enumerate(values)
    ]
    return np.array(means)
