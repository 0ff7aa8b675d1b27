"""Cases by patient: patients are the random samples, and each brings all of its cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def members(groups: Sequence[Any]) -> list[np.ndarray]:
    """The indices of each patient's cases, patients in the order in which they first occur among the N `groups`."""
    numbers: dict[Any, int] = {}
    owner = np.array([numbers.setdefault(name, len(numbers)) for name in groups], dtype=int)
    return [np.flatnonzero(owner == number) for number in range(len(numbers))]
