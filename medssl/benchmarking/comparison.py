"""What the runs of a benchmark say together: means over seeds, and differences to scratch with their intervals."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.build import kinds
from medssl.metrics.statistics import permutation_test, two_level_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Statistic = Callable[[np.ndarray], float]  # of the indices of test cases

Line = dict[str, Any]  # of results.jsonl
RESAMPLES = 1000


def summarise(lines: Sequence[Line], baseline: str | None) -> list[dict[str, Any]]:
    """One entry for each task, fraction and init: mean, sd and number of seeds, and the difference to `baseline`.

    Intervals (95%) resample seeds and patients. The difference is paired by seed and case; `p` is a sign-flip test
    over seeds (with n seeds it cannot be below 2 / 2**n). One seed shows no noise between runs: limits and p are None.
    """
    groups: dict[tuple[str, str, str], dict[int, Line]] = defaultdict(dict)
    for line in lines:
        groups[line["task"], line["fraction"], line["init"]][line["seed"]] = line
    table = []
    for (task, fraction, init), runs in groups.items():
        scratch = groups.get((task, fraction, baseline or ""), {})
        entry = {"task": task, "fraction": fraction, "init": init, **_mean(list(runs.values()))}
        table.append(entry | (_difference(runs, scratch) if init != baseline and scratch else {}))
    return table


def text(table: Sequence[dict[str, Any]]) -> str:
    """The table as lines of text."""
    lines = []
    for e in table:
        spread = f" ± {e['sd']:.4f}" if e["sd"] is not None else ""
        line = f"{e['task']:12} {e['fraction']:8} {e['init']:16} {e['score']} {e['mean']:.4f}{spread} (n={e['n']})"
        if "difference" in e:
            line += f"  to {e['to']} {e['difference']:+.4f} {_limits(e['low'], e['high'])}, p {_shown(e['p'], '.3f')}"
        lines.append(line)
        lines += [f"{'':38}beside it: {name} {value:.4f}" for name, value in e["beside"].items()]
    floors = {(e["task"], e["fraction"]): e["floor"] for e in table if e["floor"] is not None}
    lines += [
        f"{task:12} {fraction:8} floor, no image at all: {value:.4f}" for (task, fraction), value in floors.items()
    ]
    return "\n".join(lines)


def _mean(runs: Sequence[Line]) -> dict[str, Any]:
    values = np.array([_number(line["value"]) for line in runs])
    floors = [line["floor"] for line in runs if line["floor"] is not None]
    low, high = _interval([_resampled(line) for line in runs], runs)
    return {
        "score": runs[0]["score"],
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "n": len(values),
        "cases": float(np.mean([line["cases"] for line in runs])),
        "draws": len({line["subset"] for line in runs}),  # of labelled cases
        "mean_low": low,
        "mean_high": high,
        "floor": float(np.mean(floors)) if floors else None,
        "beside": _beside(runs),
    }


def _beside(runs: Sequence[Line]) -> dict[str, float]:
    """Of probes: the mean score, by the same probe of the same features, of what an encoder has to beat."""
    found: dict[str, list[float]] = defaultdict(list)
    for first, *others in (line["beside"] for line in runs if line.get("beside")):
        for row in others:
            if row["probe"] == first["probe"] and row["features"] in (first["features"], "pixels"):
                found[row["network"]].append(_number(row["value"]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _difference(runs: dict[int, Line], scratch: dict[int, Line]) -> dict[str, Any]:
    pairs = [(runs[seed], scratch[seed]) for seed in sorted(set(runs) & set(scratch))]
    both = [line for pair in pairs for line in pair]
    if not pairs or not _same_cases(both):  # nothing to pair
        return {}
    statistics = [_minus(_resampled(a), _resampled(b)) for a, b in pairs]
    everyone = np.arange(len(both[0]["rows"]))
    low, high = _interval(statistics, both)
    by_seed = np.array([_number(a["value"]) - _number(b["value"]) for a, b in pairs])
    p = permutation_test(by_seed, np.random.default_rng(0)) if len(pairs) > 1 else None
    difference = float(np.mean([statistic(everyone) for statistic in statistics]))
    return {"difference": difference, "to": pairs[0][1]["init"], "low": low, "high": high, "p": p}


def _interval(statistics: Sequence[Statistic], runs: Sequence[Line]) -> tuple[float | None, float | None]:
    """The limits of the mean of `statistics`, one a seed; none for one seed, or where runs have other test cases."""
    if len(statistics) < 2 or not _same_cases(runs):
        return None, None
    patients = [row["patient"] for row in runs[0]["rows"]]
    found = two_level_interval(statistics, patients, np.random.default_rng(0), resamples=RESAMPLES)
    return found.low, found.high


def _same_cases(runs: Sequence[Line]) -> bool:
    ids = [[row["id"] for row in line["rows"]] for line in runs]
    return bool(ids[0]) and all(one == ids[0] for one in ids)


def _resampled(line: Line) -> Statistic:
    task = kinds.make("task", line["settings"], {"spatial_dims": line["spatial_dims"]})
    rows = [{name: _number(value) for name, value in row.items()} for row in line["rows"]]
    statistic: Statistic = task.resampled(rows)
    return statistic


def _minus(a: Statistic, b: Statistic) -> Statistic:
    return lambda indices: a(indices) - b(indices)


def _number(value: Any) -> Any:
    """JSON's null is NaN."""
    return float("nan") if value is None else value


def _limits(low: float | None, high: float | None) -> str:
    return "-" if low is None else f"[{_shown(low, '+.4f')}, {_shown(high, '+.4f')}]"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None or np.isnan(value) else format(value, form)
