"""The evidence suite: every unit of the plan that is not done yet, resumable anywhere, several at a time.

run: python benchmarks/evidence/run.py --data DIR --work DIR [--only PREFIX] [--workers 2] [--pretrain-only]
A unit is one pretraining with its probes, the probe of one untrained network on one task, or the fine-tunings of one
start on one task and draw. Its rows are appended when it is whole. Kill it when you like: the next call goes on where
it ended.
With --pretrain-only nothing is probed, so that arms whose recipes stand can be computed before the plan is final.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import finetuning
import pretraining
import torch
from data import tested
from probes import probe
from store import PLAN, ROWS, append, claim, rows

import medssl

if TYPE_CHECKING:
    from collections.abc import Callable


class Unit(NamedTuple):
    """Something to compute once."""

    name: str
    run: Callable[[Path, Path], None]
    before: Callable[[Path, Path], Any] | None = None  # its pretraining, which opens no test image


def units() -> list[Unit]:
    """All units, the most telling first: baselines, one pretraining of each arm, the other seeds, fine-tunings."""
    found = [_baseline("pixels", None, task) for task in PLAN["tasks"]]
    found += [_baseline(f"untrained.{seed}", seed, task) for seed in PLAN["untrained_seeds"] for task in PLAN["tasks"]]
    for seed in range(PLAN["pretraining_seeds"]):
        for pool in PLAN["pools"]:
            found += [_pretraining(arm, pool, seed) for arm, about in PLAN["arms"].items() if seed < about["seeds"]]
    return [*found, *(Unit(name, run) for name, run in finetuning.units())]


def _baseline(name: str, seed: int | None, task: str) -> Unit:
    arm, unit = name.split(".")[0], f"{name}.{task}"

    def run(data: Path, work: Path) -> None:
        network = None if seed is None else pretraining.untrained("ours", seed)
        found = probe(task, network, data, work)
        append("probes", [{"unit": unit, "arm": arm, "seed": seed or 0, **row} for row in found])

    return Unit(unit, run)


def _pretraining(arm: str, pool: str, seed: int) -> Unit:
    unit = pretraining.name(arm, pool, seed)

    def run(data: Path, work: Path) -> None:
        out = pretraining.pretrain(arm, pool, seed, data, work)
        network = medssl.load_encoder(out)
        tasks = [task for task, about in PLAN["tasks"].items() if about["pool"] == pool]
        found = [row for task in tasks for row in probe(task, network, data, work)]
        pretraining.keep(out, unit)
        append("probes", [{"unit": unit, "arm": arm, "seed": seed, **row} for row in found])

    return Unit(unit, run, lambda data, work: pretraining.pretrain(arm, pool, seed, data, work))


def done() -> set[str]:
    """The names of the units that have all their rows."""
    return {row["unit"] for name in ("probes", "finetunings") for row in rows(name)}


def pretrainings() -> list[Unit]:
    """The pretrainings of the plan alone, named as the units that probe them."""
    return [Unit(unit.name, unit.before) for unit in units() if unit.before is not None]


def work_on(data: Path, work: Path, only: str, pretrain_only: bool) -> None:
    """Do every unit that is not done and that no other process has claimed."""
    torch.set_num_threads(1)
    for unit in pretrainings() if pretrain_only else units():
        if not unit.name.startswith(only) or unit.name in done():
            continue
        with claim(work, unit.name) as mine:
            if mine and unit.name not in done():
                print(f"{unit.name}: begun", flush=True)
                unit.run(data, work)
                print(f"{unit.name}: done", flush=True)


def write_cases(data: Path, work: Path) -> None:
    """Write who the test images are of (numbers, no names) beside the rows, for the tasks that are not there yet."""
    path = ROWS / "cases.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    if missing := [task for task in PLAN["tasks"] if task not in found]:
        ROWS.mkdir(exist_ok=True)
        path.write_text(json.dumps(found | {task: tested(task, data, work) for task in missing}) + "\n")


def main() -> None:
    """Start the workers and wait for them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True, help="folder with brainmr, cxr, cxr64, ...")
    options.add_argument("--work", type=Path, required=True, help="caches and runs; may be thrown away")
    options.add_argument("--only", default="", help="units whose names begin so")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--pretrain-only", action="store_true", help="no probe, no fine-tuning, no test image")
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    arguments = (given.data.resolve(), given.work.resolve(), given.only, given.pretrain_only)
    if not given.pretrain_only:
        write_cases(*arguments[:2])
    if given.workers == 1:
        return work_on(*arguments)
    started = [
        multiprocessing.get_context("spawn").Process(target=work_on, args=arguments) for _ in range(given.workers)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
