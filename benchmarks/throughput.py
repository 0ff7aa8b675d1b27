"""Where a pretraining step goes: python benchmarks/throughput.py [RECIPE...] [--cache DIR] [--steps 60]

One thread, no workers, on a CPU. Times are processor times, so that other work on the machine does not count, and the
first steps are left out. One row per recipe: samples per second, the share of views (reading, warping, intensity,
stacking), forward, backward, optimizer (clipping, all players, key encoder and queue) and bookkeeping (what is left:
diagnostics on their way to the log, files, the loop), and the whole step beside forward and backward. Without --cache
it makes 512 images of its own, which the first steps read into memory; of a larger cache the first epoch is slower.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine
import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image

import medssl
from medssl import view_dataset
from medssl.engine import players
from medssl.pretext import Pretext
from medssl.pretraining import loop
from medssl.recipe import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECIPES = ["moco_v2_tiny_2d", "mae_tiny_2d", "dira_tiny_2d", "dira_adco_ccrop_tiny_2d"]
PARTS = ["views", "forward", "backward", "optimizer"]
WARM = 10  # steps that are left out: compiled code is loaded, memory is found
BAR = 1.45  # a whole step beside its forward and backward
ALL_ON = {"restore": "start=0", "adversary": "start=0"}  # recipes turn them on late
PLACES = {  # what counts for which part
    "views": [(view_dataset.ViewsDataset, "__getitem__"), (view_dataset, "collate")],
    "forward": [(Pretext, "forward")],
    "backward": [(Fabric, "backward")],
    "optimizer": [(players, "step"), (players, "norms"), (Pretext, "after_step")],
}


class Clock:
    """Processor seconds by part, of the steps after the first WARM, and of all of them together."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.steps, self.start, self.end = 0, 0.0, 0.0

    def timed(self, part: str, f: Callable[..., Any]) -> Callable[..., Any]:
        """`f`, whose time counts for `part`."""

        def wrapped(*given: Any, **named: Any) -> Any:
            before = time.process_time()
            found = f(*given, **named)
            self.spent[part] += (time.process_time() - before) if self.steps > WARM else 0.0
            return found

        return wrapped

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context runs are timed."""
        before = [(owner, name, getattr(owner, name)) for places in PLACES.values() for owner, name in places]
        before.append((loop, "_step", loop._step))
        for part, places in PLACES.items():
            for owner, name in places:
                setattr(owner, name, self.timed(part, getattr(owner, name)))
        loop._step = self.step(loop._step)
        try:
            yield
        finally:
            for owner, name, found in before:
                setattr(owner, name, found)

    def step(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """The loop's own step: the first that counts starts the clock."""

        def wrapped(*given: Any, **named: Any) -> Any:
            self.steps += 1
            if self.steps == WARM + 1:
                self.start = time.process_time()
            found = f(*given, **named)
            self.end = time.process_time()
            return found

        return wrapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine.cores()}, 1 thread, torch {torch.__version__}, {options.steps} steps\n")
    print(
        "| recipe | samples/s | ms per step | " + " | ".join(PARTS) + " | bookkeeping | step / (forward + backward) |"
    )
    print("|---|---|---|" + "---|" * len(PARTS) + "---|---|")
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or images(Path(folder))
        for recipe in options.recipes:
            print(line(recipe, cache, Path(folder), WARM + options.steps), flush=True)


def line(name: str, cache: Path, folder: Path, steps: int) -> str:
    """Run a recipe with all of its losses on, and say where its time went."""
    recipe, _ = load("pretrain", name, [])
    groups = {group: value for group, value in ALL_ON.items() if getattr(recipe, group)}
    learned = recipe.method and "learn_from" in recipe.method
    settings = [f"{group}.{value}" for group, value in groups.items()] + ["method.learn_from=1"] * bool(learned)
    settings += [f"data.cache={cache}", f"train.steps={steps}", "train.checkpoint_every=1.0"]
    clock = Clock()
    with clock.watching():
        medssl.pretrain(name, settings, out=folder / name)
    counted = clock.steps - WARM
    total = (clock.end - clock.start) / counted
    parts = {part: clock.spent[part] / counted for part in PARTS}
    shares = " | ".join(f"{value / total:.0%}" for value in (*parts.values(), total - sum(parts.values())))
    ratio = total / (parts["forward"] + parts["backward"])
    verdict = f"{ratio:.2f} ({'met' if ratio <= BAR else 'missed'}: {BAR})"
    return f"| {name} | {recipe.train.batch / total:.0f} | {total * 1e3:.0f} | {shares} | {verdict} |"


def images(folder: Path) -> Path:
    """A cache of 512 images of 64 x 64 of smooth noise, prepared as X-rays."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(512):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / "images" / f"{number}.png")
    medssl.scan(folder / "images", folder / "manifest.csv", modality="CR")
    return Path(medssl.prepare(folder / "manifest.csv", folder / "cache", preset="xray").path)


if __name__ == "__main__":
    main()
