"""The outcome of a benchmark as text: the verdict in a sentence, then the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(entries: Sequence[dict[str, Any]]) -> str:
    """The table as lines of text."""
    lines = []
    for e in entries:
        spread = f" ± {e['sd']:.4f}" if e["sd"] is not None else ""
        line = f"{e['task']:12} {e['fraction']:8} {e['init']:16} {e['score']} {e['mean']:.4f}{spread} (n={e['n']})"
        if "difference" in e:
            line += f"  to {e['to']} {e['difference']:+.4f} {_limits(e['low'], e['high'])}, p {_shown(e['p'], '.3f')}"
            line += "".join(f", {words}" for words in _more(e))
        lines.append(line)
        lines += [f"{'':38}beside it: {name} {value:.4f}" for name, value in e["beside"].items()]
    floors = {(e["task"], e["fraction"]): e["floor"] for e in entries if e["floor"] is not None}
    lines += [
        f"{task:12} {fraction:8} floor, no image at all: {value:.4f}" for (task, fraction), value in floors.items()
    ]
    return "\n".join(lines)


def _more(e: dict[str, Any]) -> list[str]:
    found = []
    if e.get("p_holm") is not None:
        found.append(f"{e['p_holm']:.3f} after Holm over {e['family']}")
    if e.get("p_seeds") is not None:
        found.append(f"over seeds {e['p_seeds']:.3f} (at least {e['p_seeds_least']:.3f}), {e['won']:.0%} won")
    if "labels_reached" in e:
        found.append(f"scratch needs {e['labels_reached']} labels for it")
    return found


def _limits(low: float | None, high: float | None) -> str:
    return "-" if low is None else f"[{_shown(low, '+.4f')}, {_shown(high, '+.4f')}]"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None or np.isnan(value) else format(value, form)
