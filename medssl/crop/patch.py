"""Windows of training samples for fine-tuning: patches around a voxel or anywhere, and parts of whole images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.types import Window

if TYPE_CHECKING:
    from collections.abc import Sequence


def patch_window(
    shape: Sequence[int], size: Sequence[int], spot: np.ndarray | None, rng: np.random.Generator
) -> Window:
    """A window of `size` at the image's own voxel size, around the voxel `spot` or anywhere in `shape`.

    Along an axis shorter than the window, the window starts before the volume; its position is random there too.
    """
    slack = np.asarray(shape) - np.asarray(size)
    low, high = np.minimum(slack, 0), np.maximum(slack, 0)
    start = rng.integers(low, high + 1)
    if spot is not None:  # short axes keep their drawn position
        start = np.where(slack > 0, np.clip(spot - np.asarray(size) // 2, 0, high), start)
    return Window(tuple(int(s) for s in start), tuple(size))


def part_window(shape: Sequence[int], scale: tuple[float, float], rng: np.random.Generator) -> Window:
    """A window with a random share of the image, from `scale`, at a random position, with the image's aspect ratio."""
    side = rng.uniform(*scale) ** (1 / len(shape))
    size = np.maximum(1, np.round(np.asarray(shape) * side).astype(int))
    start = rng.integers(0, np.asarray(shape) - size + 1)
    return Window(tuple(int(s) for s in start), tuple(int(s) for s in size))
