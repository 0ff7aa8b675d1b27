"""Estimates of `medssl doctor --recipe` compared with real runs: python benchmarks/doctor.py [RECIPE ...].

Each recipe is estimated, and then run on phantom images for a few steps of its first stage, both in one thread. The
table has the seconds of a step and their ratio (bar: 1.5 either way), and the seconds of the estimate (bar: 60).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

import medssl
from medssl.data.phantom.cases import phantom_cache
from medssl.planning.speed import measure
from medssl.runtime.known import load

STEPS = 8  # of which the first half, which compiles and fills caches, is not counted
SIDES = {2: (128, 128), 3: (48, 64, 64)}


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=["moco_v2_tiny_2d", "dira_adco_ccrop_tiny_3d", "phantom_tiny"])
    print("| recipe | doctor, s per step | run, s per step | ratio | doctor took, s |\n|---|---|---|---|---|")
    for name in parser.parse_args().recipes:
        with tempfile.TemporaryDirectory() as folder:
            print(_row(name, Path(folder)), flush=True)


def _row(name: str, folder: Path) -> str:
    recipe, _ = load("pretrain", name, {"channels": 1, "data.workers": 0})
    preset = recipe.views.get("preset", "ct")
    phantom_cache(folder / "cache", 24, SIDES[recipe.spatial_dims], 0, preset)
    begun = time.perf_counter()
    told = measure(recipe, torch.device("cpu")).stages[0].seconds
    took = time.perf_counter() - begun
    settings = {"data.cache": folder / "cache", "data.workers": 0, "channels": 1, "train.log_every": 1}
    run = medssl.pretrain(name, {**settings, "train.steps": _steps(recipe)}, out=folder / "run", force=True)
    real = statistics.median(record["time"] for record in run.metrics[STEPS // 2 : STEPS])
    return f"| {name} | {told:.2f} | {real:.2f} | {told / real:.2f} | {took:.0f} |"


def _steps(recipe: object) -> int:
    """Steps of a run whose first STEPS are those of its first stage."""
    starts = [g["start"] for g in (recipe.restore, recipe.adversary) if g and 0 < g.get("start", 0) < 1]
    return STEPS if not starts else round(STEPS / min(starts))


if __name__ == "__main__":
    main()
