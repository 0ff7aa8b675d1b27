"""The console line of a pretraining: each loss beside what a guess would give, and whether features spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medssl.engine.pace import Pace

SHOWN = {"metric.top1": "top-1", "metric.effective_rank": "effective rank"}


def losses(record: Mapping[str, float]) -> str:
    """The losses and diagnostics of a step, as one reads them.

    >>> losses({"loss.discrimination": 4.2, "metric.chance": 7.38, "metric.top1": 0.35, "loss.restoration": 0.021})
    'discrimination 4.2 (chance 7.38), top-1 0.35; restoration 0.021'
    """
    said = []
    for name, value in record.items():
        if not name.startswith("loss."):
            continue
        words = f"{name.removeprefix('loss.')} {value:.4g}"
        if name == "loss.discrimination":
            if "metric.chance" in record:
                words += f" (chance {record['metric.chance']:.3g})"
            words += "".join(f", {word} {record[key]:.3g}" for key, word in SHOWN.items() if key in record)
        said.append(words)
    return "; ".join(said)


def line(step: int, steps: int, record: Mapping[str, float], pace: Pace) -> str:
    """What is said of a step: where the run is, what it learns, what it costs."""
    return f"step {step} of {steps}: {losses(record)} | {pace.words(step, record.get('memory'))}"
