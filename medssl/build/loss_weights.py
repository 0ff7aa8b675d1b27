"""The schedule of each pretraining loss: its weight over the steps of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.build.kinds import check
from medssl.engine.schedule import Weight
from medssl.times import steps_of
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.recipe import PretrainRecipe

LOSSES = {"method": "discrimination", "restore": "restoration", "adversary": "adversarial"}
WEIGHTS = {"method": 1.0, "restore": 10.0, "adversary": 0.001}  # as published (DiRA's release)
KEYS = ("weight", "start", "warmup", "end")


def timing(
    *, weight: float, start: float | int = 0, warmup: float | int = 0, end: float | int | None = None
) -> tuple[float, int | float, int | float, int | float | None]:
    """The keys for the weight and timing of a loss."""
    return weight, start, warmup, end


def weights(recipe: PretrainRecipe) -> dict[str, Weight]:
    """The weight of each main loss over the steps of the run; times must be in steps by now (`in_steps`)."""
    return {loss: _weight(recipe, group) for group, loss in LOSSES.items() if getattr(recipe, group) is not None}


def check_stages(recipe: PretrainRecipe) -> None:
    """Raise InputError for a step without a loss, or an adversary without restoration."""
    counted = {loss: weight for loss, weight in weights(recipe).items() if weight.value > 0}
    starts = {loss: weight.start for loss, weight in counted.items()}
    if min(starts.values(), default=1) > 0:
        raise InputError(f"no loss is active at step 0 (starts: {starts}): start one at 0 with a weight above 0")
    if "adversarial" in starts and starts["adversarial"] < starts.get("restoration", recipe.train.steps):
        raise InputError(
            f"adversary starts at step {starts['adversarial']}, restore at {starts.get('restoration', 'none')}: "
            "the adversary judges restored images, so start it with or after restore"
        )
    for end in sorted({w.end for w in counted.values() if w.end is not None and w.end < recipe.train.steps}):
        on = {loss for loss, weight in counted.items() if weight(end) > 0}
        if not on or on == {"adversarial"} or on == {"adversarial", "discrimination"}:
            left = "only " + " and ".join(sorted(on)) if on else "no loss"
            raise InputError(
                f"from step {end} on {left} would be active: end another loss later, "
                "and adversary no later than restore, whose output it judges"
            )


def _weight(recipe: PretrainRecipe, group: str) -> Weight:
    given = {key: value for key, value in getattr(recipe, group).items() if key in KEYS}
    value, start, warmup, end = timing(**check(timing, {"weight": WEIGHTS[group], **given}, group))
    steps = recipe.train.steps
    weight = Weight(
        value, steps_of(start, steps), steps_of(warmup, steps), None if end is None else steps_of(end, steps)
    )
    if not 0 <= weight.start < steps:
        raise InputError(f"{group}.start={start} is step {weight.start}, but the run has {steps}: start it earlier")
    if value < 0 or weight.warmup < 0:
        raise InputError(f"{group}.weight={value} and {group}.warmup={warmup} must not be negative")
    if weight.warmup > steps:
        raise InputError(
            f"{group}.warmup={warmup} is longer than the run of {steps} steps: shorten it, or train longer"
        )
    if weight.end is not None and weight.end <= weight.start:
        raise InputError(f"{group}.end={end} is step {weight.end}, but it starts at {weight.start}: end it later")
    return weight
