"""The mean of what is known, where NaN stands for what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


def known_mean(values: Iterable[float] | np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN if there are none.

    >>> known_mean([1.0, float("nan"), 2.0])
    1.5
    """
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
