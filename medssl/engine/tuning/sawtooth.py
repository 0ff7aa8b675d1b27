"""First decoder and head are trained alone, then all parts; the rate rises and falls in each of the two phases.

nnssl's schedule of this name (MIC-DKFZ/nnssl; Wald et al. 2024, OpenMind), of 150 epochs: 7.5 up and 7.5 down for the
decoder alone, then 15 up and 120 down for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.engine.phases import ENCODER, Phase
from medssl.engine.tuning import rest
from medssl.times import Time, steps_of
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def build(
    *,
    groups: Sequence[str],
    steps: int,
    alone: Time = 0.1,
    warmup: Time = 0.1,
    parts: tuple[str, ...] = (ENCODER,),
) -> list[Phase]:
    """Two phases: first some parts are frozen, then all parts are trained.

    Args:
        groups, steps: supplied by medssl: names of the parameter groups, steps of the run.
        alone: length of the first phase, half of which is warm-up.
        warmup: warm-up of the second phase. The optimizer's own warm-up is not used.
        parts: what is frozen in the first phase.

    Raises InputError for times that leave no step.

    >>> [(phase.stop, phase.weights["encoder"]) for phase in build(groups=["encoder", "head"], steps=100)]
    [(10, 0.0), (100, 1.0)]
    """
    first, up = steps_of(alone, steps, "tuning.alone"), steps_of(warmup, steps, "tuning.warmup")
    if first == 0 or first + max(up, 1) > steps:
        raise InputError(
            f"tuning.alone={alone} and tuning.warmup={warmup} are {first} and {up} steps, too long for "
            f"a run of {steps} steps: each phase needs its warm-up and at least one step"
        )
    resting = rest.weights(groups, parts)
    return [Phase(first, steps_of(0.5, first), resting), Phase(steps, up, dict.fromkeys(groups, 1.0))]
