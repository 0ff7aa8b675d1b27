"""The curves of docs/normal.md, from short runs: python docs/figures_normal.py OUT (about a minute of one core).

Three pretrainings of MoCo-v2 on the same 200 phantom radiographs that go wrong: too short, with settings under which it
collapses, and with two views that hardly differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

import medssl
from medssl.data.phantom.cases import phantom_cache
from medssl.report.curves import draw
from medssl.report.names import meaning

HERE = Path(__file__).parent
STEPS = 100
COMMON = {"train.steps": STEPS, "train.batch": 16, "views.size": [32, 32], "train.log_every": 1, "channels": 1}
COMMON |= {"encoder.channels": [16, 32, 64, 128]}
STILL = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0}
RUNS = {
    "too short": {},
    "collapses": {"encoder.norm": "group", "method.head_norm": "none"},
    "solved at once": {"crop.scale": [0.98, 1.0], "views.intensity": [], "views.warp": STILL},
}
NAMES = ("loss.discrimination", "metric.top1", "metric.effective_rank")


def main() -> None:
    """Run what is missing and draw."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    if not (out / "cache").is_dir():
        phantom_cache(out / "cache", 200, (64, 64), 0, "xray")
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    for row, (title, changes) in enumerate(RUNS.items()):
        place = out / title.replace(" ", "_")
        settings = {**COMMON, **changes, "data.cache": out / "cache"}
        run = medssl.pretrain("moco_v2_tiny_2d", settings, out=place, resume=True)
        for column, name in enumerate(NAMES):
            axes = figure.add_subplot(len(RUNS), len(NAMES), len(NAMES) * row + column + 1)
            draw(axes, run.metrics, name)
            axes.set_title(f"{title}: {meaning(name).title.lower()}", fontsize=9, loc="left")
            axes.set_ylim(bottom=0)
    figure.savefig(HERE / "images" / "normal.png", dpi=110)


if __name__ == "__main__":
    main()
