"""Masks as text: the lengths of runs of equal voxels in C order, starting with false."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def encode(mask: np.ndarray) -> str:
    """Run lengths of a bool mask (*S), separated by spaces; [[0, 1], [1, 0]] is "1 2 1"."""
    flat = np.asarray(mask, dtype=bool).ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]]))
    return " ".join(map(str, [0, *runs] if flat.size and flat[0] else runs))


def decode(text: str, shape: Sequence[int]) -> np.ndarray:
    """The mask of a shape (*S). Raises `ValueError` if the runs do not fill it."""
    runs = np.array([int(run) for run in text.split()], dtype=int)
    if (runs < 0).any() or runs.sum() != math.prod(shape):
        raise ValueError(f"runs of {runs.sum()} voxels do not fill a mask of shape {tuple(shape)}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)
