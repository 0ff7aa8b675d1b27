"""When crop boxes are renewed."""

from __future__ import annotations

import math

from medssl.types import InputError


def refreshes(start: float | int, every: float | int, steps: int) -> list[int]:
    """The steps, after as many are done, at which boxes are renewed; shares are rounded each, so that none adds up."""
    first = _steps("crop.start", start, steps)
    if first > steps:
        raise InputError(f"crop.start is step {first} but the run has {steps}: start earlier, or set crop.kind=random")
    _steps("crop.every", every, steps)
    if every == 0:
        raise InputError(f"crop.every is {every}: give a share of the run, or steps; 1.0 renews the boxes but once")
    share = every if isinstance(every, float) else every / steps
    begin = start if isinstance(start, float) else start / steps
    times = [round((begin + n * share) * steps) for n in range(math.floor((1 - begin) / share + 1e-9) + 1)]
    return sorted({time for time in times if time < steps})


def _steps(name: str, time: float | int, steps: int) -> int:
    """A float in 0..1 is a share of the run, an integer is steps."""
    if (isinstance(time, float) and not 0 <= time <= 1) or time < 0:
        raise InputError(f"{name} is {time}: give a share of the run (a float from 0 to 1) or steps (an integer)")
    return time if isinstance(time, int) else round(time * steps)
