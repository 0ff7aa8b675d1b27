"""How times are written in a recipe, and how many steps they are.

| written              | means                                    |
|----------------------|------------------------------------------|
| `"500 steps"`, 500   | 500 optimizer steps                      |
| `"20%"`, 0.2         | 20% of the run                           |
| `"10 epochs"`        | 10 passes over the training samples      |

For plain numbers the decimal point decides: 1 is one step, 1.0 is the whole run.
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
    """A time in the form that recipes store and compare: steps as int, a share of the run as float, epochs as text.

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
    """Whether a time is 1.0 (the whole run), which is easily confused with 1 (one step)."""
    return type(time) is float and time == 1


def epochs(time: object) -> Fraction | None:
    """The number of passes over the training samples, for a time written in epochs; None for other times.

    >>> epochs("2.5 epochs")
    Fraction(5, 2)
    """
    found = TEXT.fullmatch(time) if isinstance(time, str) else None
    return Fraction(found[1]) if found and found[2].startswith("epoch") else None  # exact: 0.1 x 30 is not, in floats


def steps_of(time: Time, total: int, name: str = "a time") -> int:
    """Convert a time to steps of a run of `total` steps. A share is rounded to the nearest step, halves up, at least 1.

    >>> steps_of("25%", 10), steps_of(0.35, 10), steps_of(0.01, 10), steps_of(0.0, 10)
    (3, 4, 1, 0)

    Raises `InputError`, which names the time `name`, if it is not a time or is given in epochs. Those are converted by
    `recipe.in_steps`, once the number of samples is known.
    """
    found = _read(time, name)
    return found if isinstance(found, int) else _nearest(found, total)


def repeated(start: Time, interval: Time, total: int, name: str) -> list[int]:
    """The steps at which something happens: at `start`, then after every `interval`, before step `total`.

    Each share is rounded by itself, as in `steps_of`, so that rounding errors do not add up. Raises `InputError`,
    naming `name`.start or `name`.every, for an interval of 0 and for a start after the end of the run.
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
    """Round halves up: Python's `round` turns 2.5 into 2, but 3.5 into 4."""
    steps = math.floor(share * total + 0.5 + _ROUNDING)
    return min(max(steps, 1), total) if share > 0 else 0


def _read(time: Time, name: str) -> int | float:
    try:
        found = plain(time)
    except ValueError as error:
        raise InputError(f"{name} {error}, but {time!r} was given") from error
    if isinstance(found, str):
        raise InputError(
            f"{name} is {found!r}, but the number of steps per epoch is not known here: give steps or '20%'"
        )
    return found
