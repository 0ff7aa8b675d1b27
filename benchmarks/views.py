"""Time to make views, compared with other libraries: python benchmarks/views.py [--repeats 9].

One table; each row is a ratio between two pipelines that are run in turn. One-thread rows are processor times of that
thread, so that other work on the machine does not count; the two-thread row is wall time. The list of changes that
every pipeline makes is printed with the table; all make them with the same probabilities.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import machine
import numpy as np
import torch
from view_baselines import affine, affine_grid, batchgenerators, elastic, monai

from medssl.crop import random as random_crop
from medssl.data.cache import Case
from medssl.transforms import RandBlurNoised, RandCutoutd, RandGammad
from medssl.transforms.modality import Preset
from medssl.transforms.resampling.on_device import warp_torch
from medssl.transforms.resampling.warp import Warp, WarpSettings, warp
from medssl.types import Window
from medssl.views import ViewMaker

if TYPE_CHECKING:
    from collections.abc import Callable

LIST = """One view, whichever the pipeline: crop of a share of 0.2 to 1 and resize, always; flip of each axis, p 0.5;
rotation within 15 degrees about every axis and zoom within 10%, always; elastic of 1.5 mm mean displacement, always
(rows without elastic: never); gamma 0.8 to 1.25, always; blur of sigma 0.3 to 1 voxels, p 0.5; fresh Gaussian noise of
standard deviation 0 to 0.03, p 0.5; one block erased, sides 1/6 to 1/3, always. medssl starts from stored int16 or
uint8, scales it, checks it for NaN and keeps the target too; the others get float32 in [0,1] without meta data.
Equal maths: the same map, results compared. Equal purpose: the same list, each pipeline in its own way."""
MEAN = 1.5  # mm: our mean displacement is uniform in [0, 3], the others' is 1.5


class Row(NamedTuple):
    what: str
    ours: float  # ms
    baseline: str
    theirs: float  # ms
    bar: float | None
    compares: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(f"{machine.cores()}, torch {torch.__version__}, 1 thread")
    print(f"medians of {repeats}, warp alone: minima of 15 or more")
    print(f"{LIST}\n")
    print("| what | medssl ms | against | ms | ratio | bar | compares |\n|---|---|---|---|---|---|---|")
    for rows in (same_map(max(repeats, 15)), volumes(repeats), images(repeats)):
        for row in rows:
            print(line(row))


def line(row: Row) -> str:
    """One line of the table."""
    ratio = row.theirs / row.ours
    bar = "" if row.bar is None else f">= {row.bar:g}: {'met' if ratio >= row.bar else 'MISSED'}"
    cells = row.what, f"{row.ours:.1f}", row.baseline, f"{row.theirs:.1f}", f"{ratio:.1f}", bar, row.compares
    return f"| {' | '.join(cells)} |"


def in_turn(
    contenders: list[Callable[[int], object]], repeats: int, clock: Callable[[], float] = time.thread_time
) -> np.ndarray:
    """Milliseconds (contender, repeat), all contenders once per round, so that a busy moment hits all of them."""
    for contender in contenders:
        contender(0)
    taken = np.zeros((len(contenders), repeats))
    for r in range(repeats):
        for i, contender in enumerate(contenders):
            start = clock()
            contender(r + 1)
            taken[i, r] = (clock() - start) * 1e3
    return taken


def same_map(repeats: int) -> list[Row]:
    """One affine + elastic map (6 control points per axis), sampled by us and by torch."""
    rows = []
    for out, source, bar in ((96, 96, 6.0), (96, 200, 6.0), (128, 128, 5.0), (128, 200, 5.0)):
        rng = np.random.default_rng(0)
        x = rng.random((1, source, source, source), dtype=np.float32)
        w = _map(rng, out, source)
        tensor = torch.from_numpy(x)
        sample = [partial(_times, warp, x, w), partial(_times, warp_torch, tensor, w)]
        taken = in_turn(sample, repeats).min(1)
        gap = float(np.abs(warp(x, w) - warp_torch(tensor, w).numpy()).max())
        what = f"warp alone, {out}^3 from {source}^3 float32"
        rows.append(
            Row(what, taken[0], "torch grid_sample", taken[1], bar, f"equal maths, differ by {gap:.0e} at most")
        )
    return rows


def _times(sample: Callable[[object, Warp], object], x: object, w: Warp, _: int) -> None:
    sample(x, w)


def _map(rng: np.random.Generator, out: int, source: int) -> Warp:
    """Rotation of 12 degrees about two axes, 0.9 of the source seen, elastic of 3 voxels standard deviation."""
    c, s = np.cos(0.2), np.sin(0.2)
    turned = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    matrix = turned * (0.9 * source / out)
    control = rng.normal(0, 3, (3, 6, 6, 6)).astype(np.float32)
    return Warp(matrix, (source - 1) / 2 - matrix @ np.full(3, (out - 1) / 2), control, (out,) * 3)


def volumes(repeats: int) -> list[Row]:
    """Two 3D views of 96^3 from a volume of 128^3."""
    shape, size = (128,) * 3, (96,) * 3
    x = np.random.default_rng(0).integers(-1000, 1000, (1, *shape)).astype(np.int16)
    ours = _ours(x, size, (-1000.0, 1000.0))
    given = torch.from_numpy((x + 1000) / np.float32(2000))
    made = {name: monai(size, shape, f(3, MEAN, size)) for name, f in BASELINES.items()}
    taken = in_turn([ours, *[lambda r, f=f: f(given, r) for f in made.values()]], repeats)
    times = dict(zip(["ours", *made], np.median(taken, 1), strict=True))
    bars = {"MONAI Rand3DElastic": 20.0, "MONAI RandAffine + RandGridDistortion": 8.0, "batchgeneratorsv2": 6.0}
    what = "two views, 96^3 from 128^3, the whole list"
    rows = [Row(what, times["ours"], name, times[name], bar, "equal purpose") for name, bar in bars.items()]
    torch.set_num_threads(2)
    slow = made["MONAI Rand3DElastic"]
    again = np.median(in_turn([ours, lambda r: slow(given, r)], repeats, time.perf_counter), 1)
    torch.set_num_threads(1)
    return [*rows, Row(what, again[0], "MONAI Rand3DElastic, 2 threads (we: 1)", again[1], None, "equal purpose")]


def images(repeats: int) -> list[Row]:
    """Two 2D views: gray 224 from 512, RGB 512 from 1024."""
    rows = []
    for channels, side, full in ((1, 224, 512), (3, 512, 1024)):
        shape, size = (full, full), (side, side)
        x = np.random.default_rng(0).integers(0, 256, (channels, *shape)).astype(np.uint8)
        given = torch.from_numpy(x / np.float32(255))
        ours, still = _ours(x, size, (0.0, 255.0)), _ours(x, size, (0.0, 255.0), elastic_mean=0.0)
        plain, moved = monai(size, shape, affine(2, 0, size)), monai(size, shape, elastic(2, MEAN, size))
        contenders = [still, lambda r, f=plain: f(given, r), ours, lambda r, f=moved: f(given, r)]  # noqa: B023
        t = np.median(in_turn(contenders, max(repeats, 25)), 1)
        what = f"two views, {side}^2 x {channels} from {full}^2, the whole list"
        rows += [
            Row(what + " without elastic", t[0], "MONAI RandAffine", t[1], 4.0, "equal purpose"),
            Row(what, t[2], "MONAI Rand2DElastic", t[3], 6.0, "equal purpose"),
        ]
    return rows


BASELINES = {
    "MONAI Rand3DElastic": elastic,
    "MONAI RandAffine + RandGridDistortion": affine_grid,
    "batchgeneratorsv2": batchgenerators,
}


def _ours(
    x: np.ndarray, size: tuple[int, ...], scale: tuple[float, float], elastic_mean: float = MEAN
) -> Callable[[int], object]:
    n, shape = len(size), x.shape[1:]
    geometry = WarpSettings((0.5,) * n, (15.0,) * (1 if n == 2 else 3), 0.1, 2 * elastic_mean)
    noise = RandBlurNoised(blur=0.5, sigma=(0.3, 1.0), noise=0.5, std=(0.0, 0.03))
    side = 1 / 6, 1 / 3
    maker = ViewMaker(
        [size] * 2, Preset(geometry, [RandGammad(gamma=(0.8, 1.25)), noise], RandCutoutd(blocks=1, side=side))
    )
    case = Case(
        id="phantom", shape=shape, spacing=(1.0,) * n, channels=len(x), modality="OT", preset="ct", patient="0",
        split="", classes=(), has_label=False, intensity=(scale,) * len(x), foreground=Window((0,) * n, shape),
        boxes=(), stem="", table={},
    )  # fmt: skip
    policy = random_crop.build()
    return lambda seed: maker(x, case, 0, policy, np.random.default_rng(seed))


if __name__ == "__main__":
    main()
