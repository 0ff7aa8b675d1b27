"""The one reading of a time in a recipe.

| written              | means                                    |
|----------------------|------------------------------------------|
| `"500 steps"`, 500   | so many optimizer steps                  |
| `"20%"`, 0.2         | that share of the run                    |
| `"10 epochs"`        | so many passes over the training samples |

Among numbers alone the decimal point decides: 1 is one step, 1.0 the whole run.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from medssl.types import InputError

Time = int | float | str
TEXT = re.compile(r"(\d+\.?\d*|\.\d+)\s*(%|steps?|epochs?)")
_ROUNDING = 1e-9  # of a step: 0.145 x 100 is less than 14.5 in floats
FORMS = (
    "must be a time: a share of the run such as '20%' (or a float in 0..1), a number of steps such as '500 steps' (or "
    "an integer), or passes over the training samples such as '10 epochs'"
)


def plain(time: object) -> Time:
    """A time as recipes store and compare it: steps an int, a share of the run a float, epochs as they are written.

    >>> plain("20%"), plain("500 steps"), plain(0.2), plain(500), plain("10 epochs")
    (0.2, 500, 0.2, 500, '10 epochs')

    Raises `ValueError` for anything else.
    """
    found = TEXT.fullmatch(time) if isinstance(time, str) else None
    if isinstance(time, str) and found is not None:
        number, unit = Fraction(found[1]), found[2]
        if unit.startswith("epoch"):
            return time
        if unit == "%" and number <= 100:
            return float(number / 100)
        if unit != "%" and number.denominator == 1:
            return int(number)
    elif type(time) is int and time >= 0:
        return time
    elif type(time) is float and 0 <= time <= 1:
        return time
    raise ValueError(FORMS)


def ambiguous(time: object) -> bool:
    """Whether a time is 1.0, the whole run, which is easily taken for 1, one step."""
    return type(time) is float and time == 1


def epochs(time: object) -> Fraction | None:
    """How many passes over the training samples a time stands for; None for any other way to write a time.

    >>> epochs("2.5 epochs")
    Fraction(5, 2)
    """
    found = TEXT.fullmatch(time) if isinstance(time, str) else None
    return Fraction(found[1]) if found and found[2].startswith("epoch") else None  # exact: 0.1 x 30 is not, in floats


def steps_of(time: Time, total: int, name: str = "a time") -> int:
    """Steps that a time stands for in a run of `total` steps; a share to the nearest step, halves up, but not to none.

    >>> steps_of("25%", 10), steps_of(0.35, 10), steps_of(0.01, 10), steps_of(0.0, 10)
    (3, 4, 1, 0)

    Raises `InputError`, which calls the time by `name`, for what is no time and for epochs: how many steps those are,
    `recipe.in_steps` says once the number of samples is known.
    """
    found = _read(time, name)
    return found if isinstance(found, int) else _nearest(found, total)


def repeated(start: Time, interval: Time, total: int, name: str) -> list[int]:
    """The steps at which something is due: at `start`, and from there at each `interval` before `total`.

    Shares are rounded each by itself, as `steps_of` does, so that rounding does not add up. Raises `InputError`, naming
    `name`.start or `name`.every, for an interval of 0 and a start after the run.
    """
    first, gap = _read(start, f"{name}.start"), _read(interval, f"{name}.every")
    if (step := steps_of(first, total)) > total:
        raise InputError(f"{name}.start is step {step}, but the run has {total}: start earlier")
    if gap == 0:
        raise InputError(f"{name}.every is {interval}: give a share of the run such as '20%', or a number of steps")
    share = gap if isinstance(gap, float) else gap / total
    begin = first if isinstance(first, float) else first / total
    times = [_nearest(begin + n * share, total) for n in range(math.floor((1 - begin) / share + 1e-9) + 1)]
    return sorted({time for time in times if time < total})


def _nearest(share: float, total: int) -> int:
    """Halves go up, whatever their neighbours: Python's `round` makes 2 of 2.5 and 4 of 3.5."""
    steps = math.floor(share * total + 0.5 + _ROUNDING)
    return min(max(steps, 1), total) if share > 0 else 0


def _read(time: Time, name: str) -> int | float:
    try:
        found = plain(time)
    except ValueError as error:
        raise InputError(f"{name} {error}, but {time!r} was given") from error
    if isinstance(found, str):
        raise InputError(f"{name} is {found!r}, but how many steps an epoch is, is not known here: give steps or '20%'")
    return found
