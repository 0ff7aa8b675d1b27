"""Cost of views in training on a GPU: python benchmarks/device.py [--device cuda] [--workers 8] [--steps 60].

Real steps of `medssl pretrain`: AdCo on a 3D ResNet-50, views of 96^3, batch 32, bf16, from a cache of phantom CTs of
128^3, with views.device=cpu (workers make the views) and views.device=cuda (workers read, the device makes them).
Prints for each the images per second, the share of a step for views on the device, the share spent waiting for data,
and peak memory, over the steps after the first ten. --small: a tiny encoder and views of 32^3, to try the script on a
CPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from medssl import recipe as recipes
from medssl import views
from medssl.engine import log
from medssl.pretraining import loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medssl.types import Views

WARM = 10  # steps left out: kernels are chosen, workers start
RECIPE = """
spatial_dims: 3
data: {{phantom: {{cases: 24, size: {size}}}, workers: {workers}}}
views: {{size: {view}, preset: ct, corrupt: transvw, device: {views}}}
crop: {{kind: random}}
encoder: {encoder}
method: {{kind: adco, negatives: 4096, fill: gaussian}}
optimizers:
  main: {{kind: sgd, lr: 0.03, momentum: 0.9, weight_decay: 1e-4}}
  bank: {{kind: sgd, lr: 3.0, momentum: 0.9, weight_decay: 1e-4, schedule: constant}}
train: {{steps: {steps}, batch: {batch}, precision: {precision}, checkpoint_every: {steps}}}
"""


class Found(NamedTuple):
    step: float  # seconds
    finish: float  # seconds of a step that views take on the device that trains
    wait: float  # seconds of a step spent waiting for data
    memory: float  # MiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    batch = 4 if options.small else 32
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, batch {batch}, {options.workers} workers, {options.steps} steps")
    print(
        "| views made by | images/s | views of the step (<= 10%) | waiting (< 5%) | peak MiB |\n|---|---|---|---|---|"
    )
    for where, made_by in (("cpu", "workers"), ("cuda", "the device")):
        found = measure(options, where, batch)
        shares = f"{found.finish / found.step:.1%} | {found.wait / found.step:.1%}"
        print(f"| {made_by} | {batch / found.step:.1f} | {shares} | {found.memory:.0f} |", flush=True)


def measure(options: argparse.Namespace, where: str, batch: int) -> Found:
    """Train, and read the means over the steps after the first."""
    small = options.small
    text = RECIPE.format(
        size=[48] * 3 if small else [128] * 3,
        view=[32] * 3 if small else [96] * 3,
        encoder="{kind: tiny}" if small else "{kind: resnet, depth: 50}",
        precision="bf16" if options.device == "cuda" else "32",
        views=where,
        workers=options.workers,
        steps=options.steps,
        batch=batch,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(text)
        taken: list[float] = []
        with _timed(taken, options.device):
            loop.train(*recipes.load("pretrain", str(path), [f"out={folder}/run", f"device={options.device}"]))
        records = log.read(Path(folder) / "run" / "metrics.jsonl")[WARM:]
    mean = {key: sum(record[key] for record in records) / len(records) for key in ("time", "data_wait")}
    return Found(mean["time"], sum(taken[WARM:]) / len(taken[WARM:]), mean["data_wait"], records[-1]["memory"])


@contextmanager
def _timed(taken: list[float], device: str) -> Iterator[None]:
    """Within, every `ViewMaker.finish` appends its seconds, the device's work included."""
    finish = views.ViewMaker.finish

    def timed(maker: views.ViewMaker, batch: views.Batch, to: torch.device) -> Views:
        _wait_for(device)
        start = time.perf_counter()
        made = finish(maker, batch, to)
        _wait_for(device)
        taken.append(time.perf_counter() - start)
        return made

    views.ViewMaker.finish = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        views.ViewMaker.finish = finish  # type: ignore[method-assign]


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
