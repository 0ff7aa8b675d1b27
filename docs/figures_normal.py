"""The curves of docs/normal.md, from short runs: python docs/figures_normal.py OUT (three minutes of one core).

Four pretrainings of MoCo-v2 on the same 200 phantom radiographs: one that works, and three that go wrong, since they
are too short, have settings under which they collapse, or see two views that hardly differ.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

import medssl
from medssl.data.phantom.cases import phantom_cache
from medssl.report.curves import STYLE, draw
from medssl.report.names import meaning

if TYPE_CHECKING:
    from medssl import Run

HERE = Path(__file__).parent
PHANTOMS = {"train.steps": 100, "train.batch": 16, "views.size": [32, 32], "channels": 1}
PHANTOMS |= {"encoder.channels": [16, 32, 64, 128]}
STILL = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0}
RUNS = {
    "works": {**PHANTOMS, "train.steps": 400, "train.batch": 32, "crop.scale": [0.8, 1.0]},
    "too_short": PHANTOMS,
    "collapses": {**PHANTOMS, "encoder.norm": "group", "method.head_norm": "none"},
    "solved": {**PHANTOMS, "crop.scale": [0.98, 1.0], "views.intensity": [], "views.warp": STILL},
}
NAMES = ("loss.discrimination", "metric.top1", "metric.effective_rank")


def main() -> None:
    """Run what is missing and draw."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    if not (out / "cache").is_dir():
        phantom_cache(out / "cache", 200, (64, 64), 0, "xray")
    for name, changes in RUNS.items():
        settings = {**changes, "data.cache": out / "cache", "train.log_every": 1}
        _draw(name, medssl.pretrain("moco_v2_tiny_2d", settings, out=out / name, resume=True))


def _draw(name: str, run: Run) -> None:
    """One small image per chart, so that a narrow page shows them below one another."""
    for logged in NAMES:
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(3.1, 1.8), layout="constrained")
            axes = figure.add_subplot()
            draw(axes, run.metrics, logged)
            axes.set_title(meaning(logged).title.lower(), fontsize=8, loc="left")
            axes.set_ylim(bottom=0)
            figure.savefig(HERE / "images" / f"normal_{name}_{logged.split('.')[1]}.png", dpi=160)


if __name__ == "__main__":
    main()
