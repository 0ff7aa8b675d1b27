"""Checks of the arguments of transforms: a bad value raises an InputError that names the argument and the value.

Numbers are Python's and numpy's real numbers; True and False are not numbers.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


DIMS = (2, 3)
Fill = float | Literal["edge", "reflect"]  # the value of voxels outside the image


def bounded(what: str, value: Any, highest: float, counts: Sequence[int] = ()) -> tuple[float, ...]:
    """One number from 0 to `highest`, or several, as many as `counts` allows; InputError for anything else."""
    values = _listed(value)
    fits = not hasattr(value, "__len__") or len(values) in counts
    if not fits or not all(_real(v) is not None and 0 <= v <= highest for v in values):
        many = f", or {' or '.join(map(str, counts))} of them" if counts else ""
        raise InputError(f"{what} is {value}, give a number from 0 to {highest:g}{many}")
    return tuple(map(float, values))


def positive(what: str, value: Any, counts: Sequence[int] = DIMS) -> tuple[float, ...]:
    """Finite numbers above 0, as many as `counts` allows; InputError for anything else."""
    values = _listed(value)
    if len(values) not in counts or not all(_real(v) is not None and 0 < v < math.inf for v in values):
        raise InputError(f"{what} is {value}, give {' or '.join(map(str, counts))} finite numbers above 0")
    return tuple(map(float, values))


def sides(what: str, value: Any) -> tuple[int, ...]:
    """Two or three whole numbers above 0; InputError for anything else."""
    numbers = positive(what, value)
    if any(n % 1 for n in numbers):
        raise InputError(f"{what} is {value}, give whole numbers of voxels")
    return tuple(map(int, numbers))


def fill_value(what: str, fill: Any, kind: np.dtype | None = None) -> Fill:
    """Check `fill`: "edge", "reflect" or a finite number that the data type `kind` can hold; else InputError."""
    if isinstance(fill, str) and fill in ("edge", "reflect"):
        return fill  # type: ignore[return-value]
    if isinstance(fill, str) or _real(fill) is None or not math.isfinite(fill):
        raise InputError(f"{what} is {fill}, give edge, reflect or a finite number")
    if kind is not None and not _holds(kind, fill):
        raise InputError(f"{what} is {fill:g}, which the type {kind} cannot hold: give another number, edge or reflect")
    return float(fill)


def _holds(kind: np.dtype, value: float) -> bool:
    if kind.kind == "f":
        return abs(value) <= float(np.finfo(kind).max)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return value % 1 == 0 and low <= value <= high


def _listed(value: Any) -> list[Any]:
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else [value]


def number(owner: object, key: str, value: object, least: float, most: float) -> float:
    """`value` as a float; InputError unless it is a number from `least` to `most`."""
    found = _real(value)
    if found is None or not least <= found <= most:
        raise refused(owner, key, value, f"a number from {least:g} to {most:g}")
    return found


def count(owner: object, key: str, value: object, least: int, most: int | None = None) -> int:
    """`value` as an int; InputError unless it is a whole number from `least` to `most`, or any higher one (None)."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= int(value) <= (most or int(value)):
        wanted = f"a whole number from {least} to {most}" if most else f"a whole number of {least} or more"
        raise refused(owner, key, value, wanted)
    return int(value)


def span(owner: object, key: str, value: object, least: float, most: float) -> tuple[float, float]:
    """`value` as (low, high); InputError unless it is two numbers from `least` to `most`, the smaller first."""
    two = [_real(v) for v in value] if isinstance(value, list | tuple | np.ndarray) else []
    if len(two) == 2 and two[0] is not None and two[1] is not None and least <= two[0] <= two[1] <= most:
        return two[0], two[1]
    raise refused(owner, key, value, f"two numbers from {least:g} to {most:g}, the smaller first")


def flag(owner: object, key: str, value: object) -> bool:
    """`value`; InputError unless it is true or false."""
    if not isinstance(value, bool | np.bool_):
        raise refused(owner, key, value, "True or False")
    return bool(value)


def choice(owner: object, key: str, value: object, known: Sequence[str]) -> None:
    """Raise InputError unless `value` is one of the names that are `known`."""
    if not isinstance(value, str) or value not in known:
        raise refused(owner, key, value, " or ".join(known))


def refused(owner: object, key: str, value: object, wanted: str) -> InputError:
    """The error that names the transform, the argument and its value, and says what to give."""
    return InputError(f"{type(owner).__name__}: {key} is {value!r}, give {wanted}")


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
