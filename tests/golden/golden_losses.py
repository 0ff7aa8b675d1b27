"""Losses of the first five steps of small pretrainings, kept in losses.json: what a refactoring must leave alone.

`python tests/golden/golden_losses.py` runs them and writes losses.json again. Do so only for a change that means to
move a loss, and give the old and the new figure in the commit message. Numbers are of float64, and all runs but one
learn by SGD: Adam steps by the sign of gradients, however small, so that what another processor rounds otherwise would
soon be another run. Times of stages are in steps, so that they do not depend on how shares of a run are rounded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from medssl import cli

FILE = Path(__file__).with_name("losses.json")
STEPS, CASES = 5, 8
COMMON = [f"train.steps={STEPS}", "train.batch=4", "train.precision=64", "train.log_every=1", "device=cpu"]
COMMON += ["train.checkpoint_every=5", "data.workers=0"]
SMALL_3D = ["views.size=[16,24,16]", f"data.phantom={{cases: {CASES}, size: [20,28,24]}}"]
SMALL_2D = ["views.size=[32,32]", f"data.phantom={{cases: {CASES}, size: [48,48]}}"]
SGD = ["optimizers.main.kind=sgd", "optimizers.main.lr=1e-2"]
SMALL_STEPS = ["optimizers.main.lr=1e-4"]
STAGES = ["restore.start=1", "adversary.start=3"]
AS_RECORDED = ["method.symmetric=false", "method.temperature=0.2"]
GROUP_NORM = ["encoder.norm=group", "decoder.norm=group", "views.corrupt=dira", "restore.weight=10"]
BOXES = ["crop.start=2", "crop.every=2"]
ALONE = ["moco_v2", "adco", "simsiam", "barlow_twins", "mae", "models_genesis"]
RUNS = {
    "phantom_tiny": [*SMALL_3D, *SMALL_STEPS, *STAGES, *BOXES],
    "dira_adco_ccrop_tiny_3d": [*SMALL_3D, *SGD, *STAGES, *BOXES],
    "dira_tiny_2d": [*SMALL_2D, *SGD, *STAGES, *GROUP_NORM, *AS_RECORDED],
} | {f"{name}_tiny_3d": [*SMALL_3D, *SGD] for name in ALONE}


def losses(name: str, out: Path) -> list[dict[str, float]]:
    """Every loss of every step of the recipe `name`, run in miniature into the folder `out`."""
    torch.set_num_threads(1)
    before, sys.argv = sys.argv, ["medssl", "pretrain", name, *COMMON, *RUNS[name], f"out={out}"]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"`{' '.join(sys.argv)}` ended with exit code {end.code}") from end
    finally:
        sys.argv = before
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key.startswith("loss.")} for line in lines]


def write() -> None:
    """Run all and write losses.json."""
    with TemporaryDirectory() as folder:
        found = {name: losses(name, Path(folder) / name) for name in RUNS}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    write()
