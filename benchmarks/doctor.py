"""Estimates of `medssl doctor --recipe` compared with real runs: python benchmarks/doctor.py [RECIPE ...].

Each recipe is estimated and then run on phantom images for a few steps of its first stage, both in one thread, ROUNDS
times in turn, so that other work on the machine meets both alike. The table has the median seconds of a step, the
median of the rounds' ratios (bar: 1.5 either way), and how long the first estimate took (bar: 60 s).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import medssl
from medssl.data.phantom.cases import phantom_cache
from medssl.planning.speed import measure
from medssl.runtime.known import load

if TYPE_CHECKING:
    from medssl.recipe import PretrainRecipe

ROUNDS = 3
STEPS = 6  # of a run, of which the first half, which compiles and fills caches, is not counted
SIDES = {2: (128, 128), 3: (48, 64, 64)}
HEADER = "| recipe | doctor, s per step | run, s per step | ratio | first estimate took, s (of one core) |"


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=["moco_v2_tiny_2d", "dira_adco_ccrop_tiny_3d", "phantom_tiny"])
    print(f"{HEADER}\n|---|---|---|---|---|")
    for name in parser.parse_args().recipes:
        with tempfile.TemporaryDirectory() as folder:
            print(_row(name, Path(folder)), flush=True)


def _row(name: str, folder: Path) -> str:
    recipe, _ = load("pretrain", name, {"channels": 1, "data.workers": 0})
    phantom_cache(folder / "cache", 24, SIDES[recipe.spatial_dims], 0, recipe.views.get("preset", "ct"))
    told, real, took = [], [], ""
    for turn in range(ROUNDS):
        begun, worked = time.perf_counter(), time.process_time()
        told.append(measure(recipe, torch.device("cpu")).stages[0].seconds)
        took = took or f"{time.perf_counter() - begun:.0f} ({time.process_time() - worked:.0f})"
        real.append(_step(recipe, name, folder / "cache", folder / f"run{turn}"))
    ratio = statistics.median(one / other for one, other in zip(told, real, strict=True))
    return f"| {name} | {statistics.median(told):.2f} | {statistics.median(real):.2f} | {ratio:.2f} | {took} |"


def _step(recipe: PretrainRecipe, name: str, cache: Path, out: Path) -> float:
    """Seconds of a step of a run whose other stages begin with the last step."""
    settings = {"data.cache": cache, "data.workers": 0, "channels": 1, "train.log_every": 1, "train.steps": STEPS + 1}
    settings |= {f"{group}.start": STEPS for group in ("restore", "adversary") if _late(getattr(recipe, group))}
    run = medssl.pretrain(name, settings, out=out, force=True)
    return statistics.median(record["time"] for record in run.metrics[STEPS // 2 : STEPS])


def _late(branch: dict | None) -> bool:
    return bool(branch and branch.get("start", 0) > 0)


if __name__ == "__main__":
    main()
