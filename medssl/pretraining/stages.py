"""The stages of a pretraining: which losses and players are active at which step, and when crop boxes are renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medssl.engine import players
from medssl.engine.collapse import CollapseWatch, NegativesWatch, Watch, patience
from medssl.pretraining.crop_refresh import FullVolumes, refresh
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medssl.engine.schedule import Weight
    from medssl.pretext import Pretext
    from medssl.pretraining.state import PretrainState
    from medssl.recipe import PretrainRecipe


def delays(recipe: PretrainRecipe, pretext: Pretext) -> dict[str, int]:
    """Delay of each adversary in steps after the start of its method; call before the first step."""
    return pretext.method.delays(recipe.train.batch) if pretext.method is not None else {}


def check(recipe: PretrainRecipe, weights: Mapping[str, Weight], pretext: Pretext) -> None:
    """Raises InputError if an adversary would only start after the end of the run, and so never be trained."""
    for name, delay in delays(recipe, pretext).items():
        first, steps = weights["discrimination"].start + delay, recipe.train.steps
        if first >= steps:
            sooner = pretext.method.sooner if pretext.method is not None else ""
            raise InputError(
                f"the {name} would start at step {first}, {delay} after its method, but the run ends after {steps} "
                f"step(s): set train.steps above {first}, or raise train.batch" + f", {sooner}" * bool(sooner)
            )


def watches(resolved: Mapping[str, Any]) -> list[Watch]:
    """The alarms of a run."""
    dim, patient = (resolved["method"] or {}).get("dim"), patience(resolved["train"]["steps"])
    return [CollapseWatch(dim, patient), NegativesWatch(patient)]


def boundaries(run: PretrainState) -> list[int]:
    """Steps from here to the end at which a loss or an adversary starts or ends, or boxes are renewed."""
    turns = {turn for weight in run.weights.values() for turn in (weight.start, weight.end) if turn is not None}
    turns |= set(_adversary_starts(run).values())
    due = {step for step in range(run.steps) if run.policy.due(step)}
    return sorted({run.step, run.steps} | {step for step in turns | due if run.step < step < run.steps})


def _adversary_starts(run: PretrainState) -> dict[str, int]:
    """First step of the adversaries that their method delays."""
    if "discrimination" not in run.weights:
        return {}
    first = run.weights["discrimination"].start
    return {name: first + delay for name, delay in run.delays.items()}


def enter(run: PretrainState, step: int) -> None:
    """Activate the losses and players of `step`; players that continue keep their optimizer state."""
    on = {loss for loss, weight in run.weights.items() if weight(step) > 0}
    on |= {name for name, first in _adversary_starts(run).items() if step >= first and "discrimination" in on}
    run.pretext.activate(on)
    run.optimizers = players.rebuild(run.pretext.players(), run.specs, run.optimizers)
    if on != run.on:
        run.log.say(f"from step {step}: {', '.join(sorted(on))}; players: {', '.join(run.optimizers)}")
    run.on = on


def surveyed(run: PretrainState) -> bool:
    """Whether the features of the next step are surveyed: those of a hundred logged steps a run, or fewer."""
    every = run.recipe.train.log_every
    every *= -(-run.steps // (100 * every))
    return (run.step + 1) % every == 0 or run.step + 1 == run.steps


def unguided(run: PretrainState) -> str | None:
    """A warning if a policy that makes boxes never makes one in this run."""
    if run.policy.level is None or any(run.policy.due(step) for step in range(run.steps)):
        return None
    return "crop.start is after the last step, so no crop box is ever made: all crops are random"


def renew_boxes(run: PretrainState) -> dict[str, float]:
    """Renew the boxes; returns their statistics for the log."""
    batch = run.recipe.train.batch // (run.recipe.train.accumulate * run.fabric.world_size)
    wholes = FullVolumes(run.cache, run.ids, run.maker, run.maker.sizes[0])
    workers = run.recipe.data.workers
    for warning in refresh(run.fabric, run.pretext.encoder, run.policy, wholes, batch=batch, workers=workers):
        run.log.say(f"warning: {warning}")
    return {f"metric.{name}": value for name, value in run.policy.statistics().items()}


def probed(run: PretrainState) -> dict[str, float]:
    """Scores of the online probe after this step, also logged as a message; empty if it is not due."""
    if run.probe is None or not run.probe.due(run.step, run.steps):
        return {}
    found = run.probe.scores(run.pretext.encoder, run.fabric.device)
    words = ", ".join(f"{name.removeprefix('metric.probe_')} {value:.4f}" for name, value in found.items())
    run.log.say(f"step {run.step} of {run.steps}: linear probe of the frozen features: {words}")
    return found
