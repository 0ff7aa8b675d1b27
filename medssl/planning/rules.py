"""The rules of a plan, each a function of numbers: sizes of views, stages, batch, steps. docs/plan.md states them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

Device = Literal["cpu", "cuda"]

EDGE = {("cpu", 2): 64, ("cpu", 3): 40, ("cuda", 2): 224, ("cuda", 3): 128}  # most voxels of a view's side
LEAST_EDGE = {2: 32, 3: 16}  # voxels
MEAN_CROP = 0.6  # share of the image that a crop of scale [0.2, 1] covers, in the mean
SHARP = 0.2  # under which share of the image a view at the data's own spacing asks for smaller crops
LEAST_MAP, LEAST_MAP_NNUNET = 2, 4  # voxels of the deepest feature map's shortest side
FREE = 0.8  # share of the memory that a plan may fill
PASSES = 200  # times that each case is seen
MOST_PASSES = 2_000  # however few cases there are
SAMPLES = {"cpu": (20_000, 100_000), "cuda": (100_000, 1_000_000)}  # least and most
LEAST_BATCH = {2: 32, 3: 8}  # for which a plan rather makes views smaller


class Stages(NamedTuple):
    """Strides and kernels of each stage, one number per axis; the first stage has stride 1."""

    strides: list[list[int]]
    kernels: list[list[int]]


def crop_sides(extent: Sequence[float]) -> tuple[float, ...]:
    """Sides in mm of the mean crop of an image: equal, but no longer than the image; short axes make others longer.

    >>> [round(mm) for mm in crop_sides((100, 400, 400))]
    [100, 310, 310]
    """
    sides: dict[int, float] = {}
    free = list(range(len(extent)))
    volume = MEAN_CROP * math.prod(extent)
    while free:
        side = (volume / math.prod(sides.values())) ** (1 / len(free))
        cut = [axis for axis in free if extent[axis] < side]
        for axis in cut or free:
            sides[axis] = extent[axis] if cut else side
        free = [axis for axis in free if axis not in sides]
    return tuple(sides[axis] for axis in range(len(extent)))


def view_size(
    extent: Sequence[float], spacing: Sequence[float], edge: int, multiple: int, least: int = 0
) -> tuple[int, ...]:
    """Voxels of a view that shows the mean crop with `edge` voxels on its longest side, and equal voxels in mm.

    No axis is sampled more finely than the data. Sides are rounded to `multiple`, and have `least` and LEAST_EDGE.

    >>> view_size((240, 320, 320), (1, 1, 1), 128, 16)
    (128, 128, 128)
    >>> view_size((100, 400, 400), (5, 0.8, 0.8), 128, 16)
    (16, 128, 128)
    """
    sides = crop_sides(extent)
    finest = max(sides) / edge
    least = max(least, multiple, LEAST_EDGE[len(sides)])
    voxels = [side / max(mm, finest) for side, mm in zip(sides, spacing, strict=True)]
    return tuple(max(least, multiple * round(n / multiple)) for n in voxels)


def smaller(size: Sequence[int], multiple: int, least: int = 0) -> tuple[int, ...] | None:
    """The size with its longest sides one `multiple` shorter; None where they are as short as they may be."""
    longest = max(size)
    if longest - multiple < max(least, multiple, LEAST_EDGE[len(size)]):
        return None
    return tuple(n - multiple if n == longest else n for n in size)


def crop_scale(size: Sequence[int], spacing: Sequence[float], extent: Sequence[float]) -> tuple[float, float] | None:
    """Shares of the image that 3D crops cover; None keeps those of the recipe that the plan starts from.

    A view at the data's own spacing covers a share of the image. Where that is under SHARP, crops of 20% to 100% would
    all be blurred, so they begin at that share (5% at least) and end at 50%. Not in 2D, where small crops cost more.

    >>> crop_scale((96, 96, 96), (1, 1, 1), (300, 400, 400))
    (0.05, 0.5)
    >>> crop_scale((96, 96, 96), (1, 1, 1), (120, 160, 160))
    """
    if len(size) == 2:
        return None
    share = math.prod(n * mm / e for n, mm, e in zip(size, spacing, extent, strict=True))
    return None if share >= SHARP else (max(0.05, round(share, 2)), 0.5)


def levels(size: Sequence[int], most: int) -> int:
    """How often the tiny encoder halves: `most`, or less, so that the deepest map has LEAST_MAP voxels per side.

    >>> levels((64, 64), 5), levels((16, 40, 40), 4)
    (5, 3)
    """
    return max(1, min(most, int(math.log2(min(size) / LEAST_MAP))))


def stages(size: Sequence[int], voxel: Sequence[float], most: int = 6) -> Stages:
    """nnU-Net's stages for a view of `size` whose voxels measure `voxel` mm.

    In each stage those axes are halved that have twice LEAST_MAP_NNUNET voxels and are at most twice as coarse as the
    finest of them. A kernel spans an axis once that is at most twice as coarse as the finest.

    >>> stages((16, 64, 64), (4.0, 1.0, 1.0)).strides
    [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
    """
    edges, coarse = list(size), list(voxel)
    strides, kernels = [[1] * len(edges)], [_kernel(coarse)]
    while len(strides) < most:
        able = [axis for axis, n in enumerate(edges) if n >= 2 * LEAST_MAP_NNUNET and n % 2 == 0]
        if not able:
            break
        finest = min(coarse[axis] for axis in able)
        step = [2 if axis in able and coarse[axis] <= 2 * finest else 1 for axis in range(len(edges))]
        edges = [n // s for n, s in zip(edges, step, strict=True)]
        coarse = [mm * s for mm, s in zip(coarse, step, strict=True)]
        strides.append(step)
        kernels.append(_kernel(coarse))
    return Stages(strides, kernels)


def _kernel(voxel: Sequence[float]) -> list[int]:
    return [3 if mm <= 2 * min(voxel) else 1 for mm in voxel]


def batch(wanted: int, cases: int, fits: Callable[[int], bool]) -> int:
    """The largest of wanted, wanted/2, wanted/4, ... that `fits` and is no more than the cases; 0: not even 2 fit.

    >>> batch(64, 1000, lambda n: n <= 20), batch(64, 10, lambda n: True)
    (16, 8)
    """
    while wanted >= 2:
        if wanted <= max(cases, 2) and fits(wanted):
            return wanted
        wanted //= 2
    return 0


def steps(cases: int, batch: int, device: Device) -> int:
    """Optimizer steps that show each case PASSES times, within SAMPLES and MOST_PASSES, rounded up to 50.

    >>> steps(300, 16, "cuda"), steps(20, 16, "cpu"), steps(5000, 64, "cpu"), steps(4, 4, "cuda")
    (6250, 1250, 1600, 2000)
    """
    least, most = SAMPLES[device]
    samples = min(max(PASSES * cases, least), most, MOST_PASSES * cases)
    return 50 * math.ceil(samples / batch / 50)
