"""One table of fine-tuned runs: mean over seeds with its interval, and the difference to a baseline.

run: python benchmarks/real/summary.py OUT [BASELINE]
OUT holds run directories ft_NAME[_FRACTION]_sSEED; the others are compared with the NAME BASELINE (scratch).
Intervals (95%, percentile) resample seeds and, within each, test patients; a difference takes both runs of a seed and
the same patients together.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

RESAMPLES = 2000
Rows = list[dict]


def main(out: Path, baseline: str = "scratch") -> None:
    runs: dict[tuple[str, str], dict[int, dict]] = defaultdict(dict)
    for path in sorted(out.glob("ft_*_s*/results.json")):
        name, fraction, seed = re.fullmatch(r"ft_(.+?)(?:_(n\d+))?_s(\d+)", path.parent.name).groups()
        runs[name, fraction or "-"][int(seed)] = json.loads(path.read_text())
    for (name, fraction), seeds in sorted(runs.items(), key=lambda item: (item[0][1], item[0][0])):
        score = next(iter(seeds.values()))["score"]
        values = [run["test"][score] for run in seeds.values()]
        spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
        alone = [(run["test"]["rows"],) for run in seeds.values()]
        line = f"{fraction:4} {name:16} {score} {np.mean(values):.4f} sd {spread:.4f} n {len(values)}"
        line += " ({:.4f} to {:.4f})".format(*interval(alone, lambda rows, score=score: value(rows, score)))
        others = runs.get((baseline, fraction), {})
        both = [s for s in seeds if s in others]
        if name != baseline and both:
            pairs = [(seeds[s]["test"]["rows"], others[s]["test"]["rows"]) for s in both]
            gain = np.mean([value(a, score) - value(b, score) for a, b in pairs])
            limits = interval(pairs, lambda a, b, score=score: value(a, score) - value(b, score))
            line += f"  minus {baseline} {gain:+.4f} ({limits[0]:+.4f} to {limits[1]:+.4f})"
        print(line)


def interval(seeds: list[tuple[Rows, ...]], statistic: Callable[..., float]) -> tuple[float, float]:
    """Limits of the mean over seeds of `statistic(rows, ...)`."""
    rng = np.random.default_rng(0)
    members = [_members(rows[0]) for rows in seeds]
    draws = []
    for _ in range(RESAMPLES):
        found = []
        for i in rng.integers(len(seeds), size=len(seeds)):
            groups = members[i]
            chosen = np.concatenate([groups[g] for g in rng.integers(len(groups), size=len(groups))])
            found.append(statistic(*([rows[c] for c in chosen] for rows in seeds[i])))
        draws.append(np.nanmean(found))
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def value(rows: Rows, score: str) -> float:
    if score != "auc":
        return float(np.mean([row[score] for row in rows]))
    truth = [row["truth.pneumonia"] for row in rows]
    if len(set(truth)) < 2:
        return float("nan")
    return float(roc_auc_score(truth, [row["probability.pneumonia"] for row in rows]))


def _members(rows: Rows) -> list[np.ndarray]:
    patients = np.array([row["patient"] for row in rows])
    return [np.flatnonzero(patients == patient) for patient in np.unique(patients)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
