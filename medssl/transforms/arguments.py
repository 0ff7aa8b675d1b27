"""What the spatial transforms are given: an argument that means nothing is refused at once, in one sentence."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.transforms.warp import Fill

DIMS = (2, 3)


def bounded(what: str, value: Any, highest: float, counts: Sequence[int] = ()) -> tuple[float, ...]:
    """One number from 0 to `highest`, or as many as one of `counts`; InputError for anything else."""
    values = _listed(value)
    fits = not hasattr(value, "__len__") or len(values) in counts
    if not fits or not all(_number(v) and 0 <= v <= highest for v in values):
        many = f", or {' or '.join(map(str, counts))} of them" if counts else ""
        raise InputError(f"{what} is {value}, give a number from 0 to {highest:g}{many}")
    return tuple(map(float, values))


def positive(what: str, value: Any, counts: Sequence[int] = DIMS) -> tuple[float, ...]:
    """As many finite numbers above 0 as one of `counts`; InputError for anything else."""
    values = _listed(value)
    if len(values) not in counts or not all(_number(v) and 0 < v < math.inf for v in values):
        raise InputError(f"{what} is {value}, give {' or '.join(map(str, counts))} finite numbers above 0")
    return tuple(map(float, values))


def sides(what: str, value: Any) -> tuple[int, ...]:
    """Two or three whole numbers above 0; InputError for anything else."""
    numbers = positive(what, value)
    if any(n % 1 for n in numbers):
        raise InputError(f"{what} is {value}, give whole numbers of voxels")
    return tuple(map(int, numbers))


def fill_value(what: str, fill: Any, kind: np.dtype | None = None) -> Fill:
    """What lies outside: "edge", "reflect" or a finite number, which `kind` can hold; InputError for anything else."""
    if isinstance(fill, str) and fill in ("edge", "reflect"):
        return fill  # type: ignore[return-value]
    if isinstance(fill, str) or not _number(fill) or not math.isfinite(fill):
        raise InputError(f"{what} is {fill}, give edge, reflect or a finite number")
    if kind is not None and not _holds(kind, fill):
        raise InputError(f"{what} is {fill:g}, which {kind} cannot hold: give a number that it can, or edge or reflect")
    return float(fill)


def _holds(kind: np.dtype, number: float) -> bool:
    if kind.kind == "f":
        return abs(number) <= float(np.finfo(kind).max)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return number % 1 == 0 and low <= number <= high


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _listed(value: Any) -> list[Any]:
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else [value]
