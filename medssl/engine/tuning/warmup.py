"""All parts are trained; the rate rises slowly from 0, so that an untrained head does not harm the encoder.

nnssl's schedule of this name (MIC-DKFZ/nnssl; Wald et al. 2024, OpenMind): 15 of 150 epochs up, then poly down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.engine.phases import Phase
from medssl.times import Time, steps_of
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def build(*, groups: Sequence[str], steps: int, warmup: Time = 0.1) -> list[Phase]:
    """One phase in which all parameters are trained, with a long warm-up.

    Args:
        groups, steps: supplied by medssl: names of the parameter groups, steps of the run.
        warmup: how long the learning rate rises. The optimizer's own warm-up is not used.

    Raises InputError if the warm-up is longer than the run.

    >>> build(groups=["encoder", "head"], steps=100)[0].weights
    {'encoder': 1.0, 'head': 1.0}
    """
    up = steps_of(warmup, steps, "tuning.warmup")
    if up > steps:
        raise InputError(f"tuning.warmup={warmup} is longer than the run of {steps} steps: shorten it, or train longer")
    return [Phase(steps, up, dict.fromkeys(groups, 1.0))]
