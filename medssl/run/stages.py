"""The stages of a pretraining: which losses and players are on from which step, and when crop boxes are renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.engine import players
from medssl.run.refresh import Wholes, refresh

if TYPE_CHECKING:
    from medssl.run.state import Run


def boundaries(run: Run) -> list[int]:
    """Steps from here to the end at which a loss or a rival comes into play or leaves it, or boxes are renewed."""
    turns = {turn for weight in run.weights.values() for turn in (weight.start, weight.end) if turn is not None}
    turns |= set(_rival_starts(run).values())
    due = {step for step in range(run.steps) if run.policy.due(step)}
    return sorted({run.step, run.steps} | {step for step in turns | due if run.step < step < run.steps})


def _rival_starts(run: Run) -> dict[str, int]:
    """First step of the rivals that their method makes wait."""
    if run.pretext.method is None or "discrimination" not in run.weights:
        return {}
    first = run.weights["discrimination"].start
    return {name: first + wait for name, wait in run.pretext.method.starts(run.recipe.train.batch).items()}


def enter(run: Run, step: int) -> None:
    """Let the players of `step` play, those that go on with their state."""
    on = {loss for loss, weight in run.weights.items() if weight(step) > 0}
    on |= {rival for rival, first in _rival_starts(run).items() if step >= first and "discrimination" in on}
    run.pretext.activate(on)
    run.optimizers = players.rebuild(run.pretext.players(), run.recipe.optimizers, run.optimizers)
    if step == 0:
        for name, first in _rival_starts(run).items():
            if first >= run.steps:
                run.log.say(
                    f"warning: {name} would first play at step {first}, after the run: more steps, or fewer of it"
                )
    if on != run.on:
        run.log.say(f"from step {step}: {', '.join(sorted(on))}; players: {', '.join(run.optimizers)}")
    run.on = on


def renew_boxes(run: Run) -> dict[str, float]:
    """Renew the boxes; returns what is to be logged of them."""
    batch = run.recipe.train.batch // (run.recipe.train.accumulate * run.fabric.world_size)
    wholes = Wholes(run.cache, run.ids, run.maker, run.maker.sizes[0])
    workers = run.recipe.data.workers
    for warning in refresh(run.fabric, run.pretext.encoder, run.policy, wholes, batch=batch, workers=workers):
        run.log.say(f"warning: {warning}")
    return {f"metric.{name}": value for name, value in run.policy.statistics().items()}
