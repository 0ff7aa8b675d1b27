"""The comparison of a benchmark: means over seeds, and differences to scratch with their intervals."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.benchmarking import labels, readers
from medssl.data.files import plain
from medssl.metrics.statistics import holm, ranking, share_won, sign_flip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medssl.benchmarking.readers import Line
    from medssl.recipe import BenchmarkRecipe

Runs = dict[int, "Line"]  # by seed
Entry = dict[str, Any]  # of summary.json


def summarise(lines: Sequence[Line], baseline: str | None, primary: BenchmarkRecipe | None = None) -> list[Entry]:
    """One entry for each task, fraction and init: mean, sd and number of seeds, and the difference to `baseline`.

    Intervals (95%) and `p` are from `medssl.metrics.statistics.mrmc`, with random seeds and patients. The difference is
    paired by seed and patient. `p_seeds` is an exact sign-flip test over seeds, `p_seeds_least` the smallest p that so
    many seeds can give. The `primary` comparisons of the recipe have `p_holm`, corrected for all of them, and a rank
    over tasks; all others are exploratory. With one seed, limits and p are None.
    """
    groups: dict[tuple[str, str, str], Runs] = defaultdict(dict)
    for line in lines:
        groups[line["task"], line["fraction"], line["init"]][line["seed"]] = line
    table = []
    for (task, fraction, init), runs in groups.items():
        scratch = groups.get((task, fraction, baseline or ""), {})
        entry = {"task": task, "fraction": fraction, "init": init, **_mean(runs)}
        table.append(entry | (_difference(runs, scratch) if init != baseline and scratch else {}))
    curves = {(task, fraction): runs for (task, fraction, init), runs in groups.items() if init == baseline}
    for entry in table:
        if "difference" in entry:
            entry |= labels.saved(groups[entry["task"], entry["fraction"], entry["init"]], curves, entry["task"])
    if primary is not None and primary.primary is not None:
        _correct(table, str(primary.primary.fraction), primary.primary.inits)
        _rank(table, groups, str(primary.primary.fraction))
    return table


def _mean(runs: Runs) -> Entry:
    lines = list(runs.values())
    scores = np.array([readers.number(line["value"]) for line in lines])
    floors = [line["floor"] for line in lines if line["floor"] is not None]
    low, high = float("nan"), float("nan")
    if len(lines) > 1 and readers.same_cases(lines):
        _, low, high, *_ = readers.analysed(readers.of_seeds(runs, sorted(runs)))
    return {
        "score": lines[0]["score"],
        "mean": float(scores.mean()),
        "sd": float(scores.std(ddof=1)) if len(scores) > 1 else None,
        "n": len(scores),
        "cases": float(np.mean([line["cases"] for line in lines])),
        "draws": len({line["subset"] for line in lines}),  # of labelled cases
        "patients": len({row["patient"] for row in lines[0]["rows"]}),  # of the test
        "mean_low": plain(float(low)),
        "mean_high": plain(float(high)),
        "floor": float(np.mean(floors)) if floors else None,
        "beside": _beside(lines),
    }


def _beside(runs: Sequence[Line]) -> dict[str, float]:
    """For probes: the mean score of each baseline, by the same probe of the same features."""
    found: dict[str, list[float]] = defaultdict(list)
    for first, *others in (line["beside"] for line in runs if line.get("beside")):
        for row in others:
            if row["probe"] == first["probe"] and row["features"] in (first["features"], "pixels"):
                found[row["network"]].append(readers.number(row["value"]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _difference(runs: Runs, scratch: Runs) -> Entry:
    seeds = sorted(set(runs) & set(scratch))
    if not seeds or not readers.same_cases([one[seed] for one in (runs, scratch) for seed in seeds]):
        return {}  # no pairs
    found = readers.analysed(readers.of_seeds(runs, seeds) - readers.of_seeds(scratch, seeds))
    by_seed = np.array([readers.number(runs[s]["value"]) - readers.number(scratch[s]["value"]) for s in seeds])
    over_seeds = sign_flip(by_seed)
    return {
        "difference": float(by_seed.mean()) if np.isnan(found.estimate) else found.estimate,
        "to": scratch[seeds[0]]["init"],
        "low": plain(float(found.low)),
        "high": plain(float(found.high)),
        "p": plain(float(found.p)),
        "p_seeds": over_seeds.p if len(seeds) > 1 else None,
        "p_seeds_least": over_seeds.least if len(seeds) > 1 else None,
        "won": share_won(by_seed),
        "pairs": len(seeds),
    }


def _correct(table: Sequence[Entry], fraction: str, inits: Sequence[str] | None) -> None:
    """Add the corrected p to the primary comparisons; one without a p still counts in their number."""
    family = [
        e for e in table if e["fraction"] == fraction and "difference" in e and e["init"] in (inits or [e["init"]])
    ]
    for entry, p in zip(family, holm([readers.number(entry["p"]) for entry in family]), strict=True):
        entry |= {"p_holm": plain(float(p)), "family": len(family)}


def _rank(table: Sequence[Entry], groups: Mapping[tuple[str, str, str], Runs], fraction: str) -> None:
    """Add to the entries of `fraction` the mean rank of their init over the tasks, if every init has the same runs."""
    tasks = list(dict.fromkeys(entry["task"] for entry in table))
    inits = list(dict.fromkeys(entry["init"] for entry in table))
    arrays = []
    for task in tasks:
        runs = [groups.get((task, fraction, init), {}) for init in inits]
        if len({tuple(sorted(one)) for one in runs}) != 1 or not readers.same_cases(
            [line for one in runs for line in one.values()]
        ):
            return
        arrays.append(np.stack([readers.of_seeds(one, sorted(one)) for one in runs]))
    try:
        found = ranking(arrays, np.random.default_rng(0))
    except ValueError:  # a score is missing for some runs only
        return
    for number, init in enumerate(inits):
        own = {"rank": found.mean, "rank_low": found.low, "rank_high": found.high, "rank_first": found.first}
        for entry in table:
            if (entry["init"], entry["fraction"]) == (init, fraction):
                entry |= {key: float(value[number]) for key, value in own.items()} | {"ranked_tasks": len(tasks)}
