"""What the runs of a benchmark say together: means over seeds, and differences to scratch with their intervals."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.metrics.statistics import permutation_test, two_level_interval
from medssl.run import kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Line = dict[str, Any]  # of results.jsonl
RESAMPLES = 1000


def summarise(lines: Sequence[Line], baseline: str | None) -> list[dict[str, Any]]:
    """One entry for each task, fraction and init: mean, sd and number of seeds, and the difference to `baseline`.

    The difference is paired by seed and case; its 95% interval resamples seeds and patients, `p` is a sign-flip test
    over seeds (with n seeds it cannot be below 2 / 2**n).
    """
    groups: dict[tuple[str, str, str], dict[int, Line]] = defaultdict(dict)
    for line in lines:
        groups[line["task"], line["fraction"], line["init"]][line["seed"]] = line
    table = []
    for (task, fraction, init), runs in groups.items():
        values = np.array([_number(line["value"]) for line in runs.values()])
        floors = [line["floor"] for line in runs.values() if line["floor"] is not None]
        entry = {
            "task": task,
            "fraction": fraction,
            "init": init,
            "score": next(iter(runs.values()))["score"],
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
            "n": len(values),
            "floor": float(np.mean(floors)) if floors else None,
        }
        scratch = groups.get((task, fraction, baseline or ""), {})
        table.append(entry | (_difference(runs, scratch) if init != baseline and scratch else {}))
    return table


def text(table: Sequence[dict[str, Any]]) -> str:
    """The table as lines of text."""
    lines = []
    for e in table:
        spread = f" ± {e['sd']:.4f}" if e["sd"] is not None else ""
        line = f"{e['task']:12} {e['fraction']:8} {e['init']:16} {e['score']} {e['mean']:.4f}{spread} (n={e['n']})"
        if "difference" in e:
            line += f"  to scratch {e['difference']:+.4f} [{e['low']:+.4f}, {e['high']:+.4f}], p {e['p']:.3f}"
        lines.append(line)
    floors = {(e["task"], e["fraction"]): e["floor"] for e in table if e["floor"] is not None}
    lines += [
        f"{task:12} {fraction:8} floor, no image at all: {value:.4f}" for (task, fraction), value in floors.items()
    ]
    return "\n".join(lines)


def _difference(runs: dict[int, Line], scratch: dict[int, Line]) -> dict[str, Any]:
    seeds = sorted(set(runs) & set(scratch))
    pairs = [(runs[seed], scratch[seed]) for seed in seeds]
    patients = [[row["patient"] for row in line["rows"]] for pair in pairs for line in pair]
    ids = [[row["id"] for row in line["rows"]] for pair in pairs for line in pair]
    if not pairs or any(one != ids[0] for one in ids):  # other test cases: nothing to pair
        return {}
    statistics = [_minus(_resampled(a), _resampled(b)) for a, b in pairs]
    rng = np.random.default_rng(0)
    interval = two_level_interval(statistics, patients[0], rng, resamples=RESAMPLES)
    by_seed = np.array([_number(a["value"]) - _number(b["value"]) for a, b in pairs])
    p = permutation_test(by_seed, rng)
    return {"difference": interval.estimate, "low": interval.low, "high": interval.high, "p": p}


def _resampled(line: Line) -> Callable[[np.ndarray], float]:
    task = kinds.make("task", line["settings"], {"spatial_dims": line["spatial_dims"]})
    rows = [{name: _number(value) for name, value in row.items()} for row in line["rows"]]
    statistic: Callable[[np.ndarray], float] = task.resampled(rows)
    return statistic


def _minus(a: Callable[[np.ndarray], float], b: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    return lambda indices: a(indices) - b(indices)


def _number(value: Any) -> Any:
    """JSON's null is NaN."""
    return float("nan") if value is None else value
