"""Did pretraining help? The result of a benchmark in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.05
FEW = 30  # patients: with fewer, intervals of skewed scores are too narrow


def verdict(summary: Sequence[dict[str, Any]]) -> str:
    """About the primary comparisons, with p after Holm, if the recipe has any; else about all, called exploratory."""
    compared = [entry for entry in summary if entry.get("difference") is not None]
    if not compared:
        return "Nothing was compared: a benchmark needs an init that is scratch without overrides, and another one."
    family = [entry for entry in compared if entry.get("family")]
    if family:
        won = [entry for entry in family if _significant(entry) and entry["difference"] > 0]
        lost = [entry for entry in family if _significant(entry) and entry["difference"] < 0]
        opening = (
            f"Of {len(family)} primary comparisons to {family[0]['to']} (labels: {family[0]['fraction']}), "
            f"{len(won)} {'is' if len(won) == 1 else 'are'} significantly better and {len(lost)} significantly worse "
            "(p under .05 after Holm)"
        )
        said = f"{opening}: {'; '.join(_words(entry) for entry in family)}"
    else:
        said = (
            "The recipe names no primary comparisons (`primary`), so every difference is exploratory: "
            + "; ".join(_words(entry) for entry in compared[:4])
            + (f"; and {len(compared) - 4} more" if len(compared) > 4 else "")
        )
    few = {entry["task"]: entry["patients"] for entry in compared if (entry.get("patients") or FEW) < FEW}
    said += "".join(f"; {task} has only {n} test patients, too few for a reliable interval" for task, n in few.items())
    return f"{said}."


def _significant(entry: dict[str, Any]) -> bool:
    return entry.get("p_holm") is not None and entry["p_holm"] < LEVEL


def _words(entry: dict[str, Any]) -> str:
    limits = "no interval" if entry["low"] is None else f"{entry['low']:+.4f} to {entry['high']:+.4f}"
    p = entry.get("p_holm") if entry.get("family") else entry.get("p")
    tail = "" if p is None else f", p {p:.3f}"
    return f"{entry['init']} on {entry['task']} {entry['difference']:+.4f} {entry['score']} ({limits}{tail})"
