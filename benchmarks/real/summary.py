"""One table of fine-tuned runs: mean over seeds, and the difference to scratch over seeds and patients.

run: python benchmarks/real/summary.py OUT [BASELINE]
OUT holds run directories ft_NAME[_FRACTION]_sSEED; the others are compared with the NAME BASELINE (scratch).
The interval of a difference resamples seeds and, within them, test cases, both runs of a pair together.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

RESAMPLES = 2000


def main(out: Path, baseline: str = "scratch") -> None:
    runs: dict[tuple[str, str], dict[int, dict]] = defaultdict(dict)
    for path in sorted(out.glob("ft_*_s*/results.json")):
        name, fraction, seed = re.fullmatch(r"ft_(.+?)(?:_(n\d+))?_s(\d+)", path.parent.name).groups()
        runs[name, fraction or ""][int(seed)] = json.loads(path.read_text())
    for (name, fraction), seeds in sorted(runs.items(), key=lambda item: (item[0][1], item[0][0])):
        first = next(iter(seeds.values()))
        values = np.array([run["test"][run["score"]] for run in seeds.values()])
        floor = (first.get("floor") or {}).get(first["score"])
        spread = values.std(ddof=1) if len(values) > 1 else float("nan")
        line = f"{fraction or '-':4} {name:16} {first['score']} {values.mean():.4f} sd {spread:.4f} n {len(values)}"
        line += f" floor {floor:.4f}" if floor is not None else ""
        others = runs.get((baseline, fraction), {})
        if name != baseline and set(seeds) & set(others):
            line += "  minus {} {:+.4f} ({:+.4f} to {:+.4f})".format(baseline, *difference(seeds, others))
        print(line)


def difference(runs: dict[int, dict], others: dict[int, dict]) -> tuple[float, float, float]:
    seeds = sorted(set(runs) & set(others))
    pairs = [(runs[s]["test"]["rows"], others[s]["test"]["rows"]) for s in seeds]
    score = runs[seeds[0]]["score"]
    rng = np.random.default_rng(0)
    estimate = np.mean([gain(a, b, np.arange(len(a)), score) for a, b in pairs])
    draws = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(pairs), size=len(pairs))
        draws.append(
            np.nanmean([gain(*pairs[i], rng.integers(len(pairs[i][0]), size=len(pairs[i][0])), score) for i in chosen])
        )
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(estimate), float(low), float(high)


def gain(rows: list[dict], others: list[dict], chosen: np.ndarray, score: str) -> float:
    return value(rows, chosen, score) - value(others, chosen, score)


def value(rows: list[dict], chosen: np.ndarray, score: str) -> float:
    if score != "auc":
        return float(np.mean([rows[i][score] for i in chosen]))
    truth = [rows[i]["truth.pneumonia"] for i in chosen]
    return (
        float("nan")
        if len(set(truth)) < 2
        else float(roc_auc_score(truth, [rows[i]["probability.pneumonia"] for i in chosen]))
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
