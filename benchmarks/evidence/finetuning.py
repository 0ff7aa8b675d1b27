"""Few-shot fine-tunings of the plan: each start, task, count and draw at the rate and length chosen on validation.

Rate and length are swept on the first draws, for every start alike; the best pair on validation is used for all draws.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pretraining
from data import draws
from store import PLAN, append, pack, rows

from medssl.data.cache import Cache
from medssl.engine import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ABOUT = PLAN["finetune"]
LONGER = 3  # scratch_long runs so many times as long


def units() -> Iterator[tuple[str, Callable[[Path, Path], None]]]:
    """Sweeps first, since the fine-tunings need what they chose."""
    cells = [
        (task, count, start)
        for task, about in ABOUT["tasks"].items()
        for count in about["counts"]
        for start in ABOUT["starts"]
    ]
    for cell in cells:
        yield f"sweep.{_name(*cell)}", lambda data, work, cell=cell: _sweep(*cell, data, work)
    for cell, draw in product(cells, range(PLAN["draws"])):
        yield f"tune.{_name(*cell)}.s{draw}", lambda data, work, cell=cell, draw=draw: _tune(*cell, draw, data, work)


def _name(task: str, count: int, start: str) -> str:
    return f"{task}.n{count}.{start}"


def _sweep(task: str, count: int, start: str, data: Path, work: Path) -> None:
    found = []
    for draw, rate, steps in product(ABOUT["sweep_draws"], ABOUT["rates"], ABOUT["lengths"]):
        for fold in _folds(task)[:1]:
            found.append(_cell(task, count, start, draw, fold, rate, steps, data, work))
    unit = f"sweep.{_name(task, count, start)}"
    append("finetunings", [{"unit": unit, "part": "sweep", **row} for row in found])


def _tune(task: str, count: int, start: str, draw: int, data: Path, work: Path) -> None:
    rate, steps = chosen(task, count, start)
    found = [_cell(task, count, start, draw, fold, rate, steps, data, work) for fold in _folds(task)]
    unit = f"tune.{_name(task, count, start)}.s{draw}"
    append("finetunings", [{"unit": unit, "part": "tune", **row} for row in found])


def chosen(task: str, count: int, start: str) -> tuple[float, int]:
    """The rate and length with the best mean validation score over the draws of the sweep; the first of equals."""
    scores: dict[tuple[float, int], list[float]] = {}
    for row in rows("finetunings"):
        if row["unit"] == f"sweep.{_name(task, count, start)}":
            scores.setdefault((row["rate"], row["steps"]), []).append(row["validation"])
    if not scores:
        raise SystemExit(f"the sweep of {_name(task, count, start)} has not been run: run it first")
    return max(scores, key=lambda pair: np.mean(scores[pair]))


def _folds(task: str) -> list[int]:
    return list(range(PLAN["tasks"][task].get("folds", 1)))


def _cell(
    task: str, count: int, start: str, draw: int, fold: int, rate: float, steps: int, data: Path, work: Path
) -> dict[str, Any]:
    """Fine-tune once; the run directory goes when its scores are read."""
    found, made = draws(task, data, work)
    name = f"n{count}_f{fold}_s{draw}"
    splits, out = work / f"{task}.splits.json", work / "tune" / f"{task}.{start}.{name}.{rate}.{steps}"
    _write_splits(splits, made)
    length = steps * (LONGER if start == "scratch_long" else 1)
    init = "scratch" if start.startswith("scratch") else str(_run(task, start, draw, work))
    settings = [
        f"data.cache={found.cache}",
        f"data.splits={splits}",
        f"data.train={name}.train",
        f"data.val={name}.val",
    ]
    settings += [f"data.test={name}.test", f"optimizers.main.lr={rate}", f"train.steps={length}", f"seed={draw}"]
    settings += [f"init={init}", f"out={out}", "resume=true", *ABOUT["tasks"][task].get("set", [])]
    command = [sys.executable, "-m", "medssl.cli", "finetune", ABOUT["tasks"][task]["recipe"], *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    row = _read(out, Cache(found.cache), found.table)
    shutil.rmtree(out)
    about = {"task": task, "arm": start, "count": count, "draw": draw, "fold": fold, "rate": rate, "steps": steps}
    return {**about, **row}


def _run(task: str, arm: str, draw: int, work: Path) -> Path:
    seed = draw % min(PLAN["pretraining_seeds"], PLAN["arms"][arm]["seeds"])
    return work / "runs" / pretraining.name(arm, PLAN["tasks"][task]["pool"], seed)


def _write_splits(path: Path, made: dict[str, Any]) -> None:
    if not path.exists():
        lists = {f"{name}.{part}": getattr(draw, part) for name, draw in made.items() for part in draw._fields}
        path.write_text(json.dumps(lists))


def _read(out: Path, cache: Cache, table: Any) -> dict[str, Any]:
    """The score of each test image by name, and validation over the steps."""
    results = json.loads((out / "results.json").read_text())
    score = results["score"]
    by_case = {row["id"]: row for row in results["test"]["rows"]}
    order = sorted(by_case, key=lambda one: table.stem[one])
    keep = [key for key in by_case[order[0]] if key.startswith(("dice.", "probability.", "truth."))]
    scores = {key: pack([_number(by_case[one][key]) for one in order]) for key in keep}
    lines = [
        line for line in log.read(out / "metrics.jsonl") if f"metric.val_{score}" in line or "metric.validation" in line
    ]
    curve = [(line["step"], round(line.get(f"metric.val_{score}", line.get("metric.validation")), 4)) for line in lines]
    return {"value": results["test"][score], "validation": results["validation"], "scores": scores, "curve": curve}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
