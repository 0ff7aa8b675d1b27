"""The FROC of the test of a run, one small chart per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medssl.report import curves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

LEAST, MOST = 1 / 16, 8.0  # false alarms an image: the axis; fewer are drawn at its left end
TICKS = {0.125: "1/8", 0.25: "1/4", 0.5: "1/2", 1.0: "1", 2.0: "2", 4.0: "4", 8.0: "8"}
CAPTION = "Share of the lesions found against false alarms per image; dots: the rates whose mean is the CPM."


def charts(results: Mapping[str, Any] | None) -> list[curves.Chart]:
    """A chart for each class of a test that looked for lesions."""
    test = (results or {}).get("test") or {}
    found: dict[str, Any] = (test.get("details") or {}).get("froc") or {}
    return [_chart(name, one) for name, one in found.items() if one["curve"]["lesions"]]


def _chart(name: str, one: Mapping[str, Any]) -> curves.Chart:
    return curves.Chart(
        f"froc.{name}", f"FROC: {name}", CAPTION, curves.svg(f"froc.{name}", lambda axes: _draw(axes, one))
    )


def _draw(axes: Axes, one: Mapping[str, Any]) -> None:
    curve, at = one["curve"], one["at"]
    false = [0.0, *(number / curve["images"] for number in curve["false"])]
    true = [0.0, *(number / curve["lesions"] for number in curve["true"])]
    ends = [max(LEAST, rate) for rate in false] + [MOST]
    axes.step(ends, [*true, true[-1]], where="post", color=curves.INK, linewidth=1.4)
    axes.plot(at["fp_per_image"], at["sensitivity"], "o", color=curves.INK, markersize=3)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(TICKS), list(TICKS.values()))
    axes.set_xlim(LEAST, MOST * 1.1)
    axes.set_ylim(-0.02, 1.05)
    axes.set_xlabel("false alarms per image", fontsize=7)
