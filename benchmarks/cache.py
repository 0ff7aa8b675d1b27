"""Time to read a random crop from the cache, compared with reading the .nii.gz and slicing a memory map.

run: python benchmarks/cache.py

One 512 x 512 x 200 int16 CT phantom with noise, one thread, warm page cache; the three are run in turn at the same
random positions. Bars: at most 1/50 of nibabel's read of the .nii.gz, at most 8 times a memory-mapped slice.
"""

from __future__ import annotations

import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import machine
import nibabel
import numpy as np
from scipy import ndimage

from medssl.data.cache import FORMAT, Cache, Case, write_case, write_json
from medssl.data.phantom.cases import ct_case
from medssl.types import Window

SHAPE = (200, 512, 512)  # Z, Y, X
SIDES = (64, 96, 128)
REPEATS = 31
WHOLE_REPEATS = 3
NOISE = 15.0  # HU
CROPS_OF_A_WORKER = 2000


def phantom() -> np.ndarray:
    """The CT phantom, made small and enlarged, with noise of its own in every voxel."""
    small, _ = ct_case(np.random.default_rng(0), (50, 128, 128))
    image = ndimage.zoom(small.astype(np.float32), 4, order=1)
    noise = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32) * NOISE
    return np.clip(image + noise, -1024, 3071).astype(np.int16)


def write(folder: Path, image: np.ndarray) -> Cache:
    """The phantom as .nii.gz, .npy and cache."""
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), np.eye(4)), folder / "ct.nii.gz")
    np.save(folder / "ct.npy", image[None])
    whole = Window((0, 0, 0), SHAPE)
    case = Case("ct", SHAPE, (1.0, 1.0, 1.0), 1, "CT", "ct", "", "", (), False, ((-1000.0, 1000.0),), whole)
    write_case(folder / "cache", case, image[None], None, {})
    head = {
        "format": FORMAT,
        "preprocessing": {},
        "complete": True,
        "cases": 1,
        "rejected": {},
        "left_out": {},
        "notices": [],
    }
    write_json(folder / "cache" / "cache.json", head)
    return Cache(folder / "cache")


def seconds(read: Callable[[], Any]) -> float:
    """How long one read takes."""
    before = time.perf_counter()
    read()
    return time.perf_counter() - before


def nifti(file: Path) -> np.ndarray:
    """The whole volume, as nibabel reads it."""
    image: Any = nibabel.load(file)
    return np.asarray(image.dataobj)


def copy(memory: np.ndarray, place: tuple[slice, ...]) -> np.ndarray:
    """A crop of the memory map, in memory."""
    return np.array(memory[place])


def crop(cache: Cache, place: tuple[slice, ...]) -> np.ndarray:
    """A crop of the cached array, its file opened for it."""
    return cache.image("ct")[place]


def positions(side: int) -> list[tuple[slice, ...]]:
    """Random places of a cube, the same for every side of the comparison."""
    rng = np.random.default_rng(side)
    starts = [[int(rng.integers(n - side + 1)) for n in SHAPE] for _ in range(REPEATS)]
    return [(slice(None), *(slice(a, a + side) for a in start)) for start in starts]


def table(folder: Path, cache: Cache) -> None:
    """Print one row per crop size: medians in ms and the two ratios."""
    whole = float(np.median([seconds(partial(nifti, folder / "ct.nii.gz")) for _ in range(WHOLE_REPEATS)]))
    memory = np.load(folder / "ct.npy", mmap_mode="r")
    print("crop    nii.gz ms   memmap ms (least)   cache ms (least)   of nii.gz   of memmap (least)")
    for side in SIDES:
        mapped, cached = [], []
        for place in positions(side):
            mapped.append(seconds(partial(copy, memory, place)))
            cached.append(seconds(partial(crop, cache, place)))
            assert np.array_equal(memory[place], cache.image("ct")[place])
        slow, fast = float(np.median(cached)), float(np.median(mapped))
        least, fastest = min(cached), min(mapped)
        times = f"{whole * 1e3:9.0f} {fast * 1e3:11.2f} ({fastest * 1e3:.2f}) {slow * 1e3:11.2f} ({least * 1e3:.2f})"
        print(f"{side:>3}^3 {times} {f'1/{whole / slow:.0f}':>12} {slow / fast:9.1f} ({least / fastest:.1f})")


def growth(cache: Cache) -> float:
    """By how many MB the process has grown after many crops."""
    places = positions(96)
    for place in places:
        cache.image("ct")[place]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(CROPS_OF_A_WORKER):
        cache.image("ct")[places[number % REPEATS]]
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Make the phantom in a temporary folder, measure, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = write(folder, phantom())
        sizes = {file: (folder / file).stat().st_size / 1e6 for file in ("ct.nii.gz", "ct.npy", "cache/arrays/ct.b2nd")}
        print(f"{platform.machine()}, {machine.cores()}, load {os.getloadavg()[0]:.1f}, 1 thread")
        print(", ".join(f"{file} {size:.0f} MB" for file, size in sizes.items()))
        table(folder, cache)
        print(f"memory grown over {CROPS_OF_A_WORKER} crops of 96^3: {growth(cache):.1f} MB")


if __name__ == "__main__":
    main()
