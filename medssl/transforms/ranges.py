"""Checks of what a transform is given: each refuses in one sentence with the transform's name, the key and the value.

Numbers are what Python and numpy call real; true and false are none.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def choice(owner: object, key: str, value: object, known: Sequence[str]) -> None:
    """Raise InputError unless `value` is one of the names that are `known`."""
    if not isinstance(value, str) or value not in known:
        raise refused(owner, key, value, " or ".join(known))


def refused(owner: object, key: str, value: object, wanted: str) -> InputError:
    """Return the error that names the transform, the key and the value, and says what to give."""
    return InputError(f"{type(owner).__name__}: {key} is {value!r}, give {wanted}")


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
