"""The stages of a pretraining: which losses and players are on from which step, and when crop boxes are renewed."""

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
    """Steps after the start of their method at which its rivals first play, told before the first step."""
    return pretext.method.delays(recipe.train.batch) if pretext.method is not None else {}


def check(recipe: PretrainRecipe, weights: Mapping[str, Weight], pretext: Pretext) -> None:
    """Raises InputError where an adversary would start after the run, so that what the recipe names never happens."""
    for name, wait in delays(recipe, pretext).items():
        first, steps = weights["discrimination"].start + wait, recipe.train.steps
        if first >= steps:
            sooner = pretext.method.sooner if pretext.method is not None else ""
            raise InputError(
                f"the {name} would start at step {first}, {wait} after its method, but the run ends after {steps} "
                f"step(s): set train.steps above {first}, or raise train.batch" + f", {sooner}" * bool(sooner)
            )


def watches(resolved: Mapping[str, Any]) -> list[Watch]:
    """The alarms of a run."""
    dim, patient = (resolved["method"] or {}).get("dim"), patience(resolved["train"]["steps"])
    return [CollapseWatch(dim, patient), NegativesWatch(patient)]


def boundaries(run: PretrainState) -> list[int]:
    """Steps from here to the end at which a loss or a rival comes into play or leaves it, or boxes are renewed."""
    turns = {turn for weight in run.weights.values() for turn in (weight.start, weight.end) if turn is not None}
    turns |= set(_adversary_starts(run).values())
    due = {step for step in range(run.steps) if run.policy.due(step)}
    return sorted({run.step, run.steps} | {step for step in turns | due if run.step < step < run.steps})


def _adversary_starts(run: PretrainState) -> dict[str, int]:
    """First step of the adversaries that their method makes wait."""
    if "discrimination" not in run.weights:
        return {}
    first = run.weights["discrimination"].start
    return {name: first + wait for name, wait in run.delays.items()}


def enter(run: PretrainState, step: int) -> None:
    """Let the players of `step` play, those that go on with their state."""
    on = {loss for loss, weight in run.weights.items() if weight(step) > 0}
    on |= {rival for rival, first in _adversary_starts(run).items() if step >= first and "discrimination" in on}
    run.pretext.activate(on)
    run.optimizers = players.rebuild(run.pretext.players(), run.specs, run.optimizers)
    if on != run.on:
        run.log.say(f"from step {step}: {', '.join(sorted(on))}; players: {', '.join(run.optimizers)}")
    run.on = on


def unguided(run: PretrainState) -> str | None:
    """A sentence where a policy that makes boxes is never due to make one."""
    if run.policy.level is None or any(run.policy.due(step) for step in range(run.steps)):
        return None
    return "no crop box will be made before the run ends (crop.start): all views are random crops, as for a baseline"


def renew_boxes(run: PretrainState) -> dict[str, float]:
    """Renew the boxes; returns what is to be logged of them."""
    batch = run.recipe.train.batch // (run.recipe.train.accumulate * run.fabric.world_size)
    wholes = FullVolumes(run.cache, run.ids, run.maker, run.maker.sizes[0])
    workers = run.recipe.data.workers
    for warning in refresh(run.fabric, run.pretext.encoder, run.policy, wholes, batch=batch, workers=workers):
        run.log.say(f"warning: {warning}")
    return {f"metric.{name}": value for name, value in run.policy.statistics().items()}


def probed(run: PretrainState) -> dict[str, float]:
    """What the online probe answers after this step, which is said as well; nothing where it is not due."""
    if run.probe is None or not run.probe.due(run.step, run.steps):
        return {}
    found = run.probe.scores(run.pretext.encoder, run.fabric.device)
    words = ", ".join(f"{name.removeprefix('metric.probe_')} {value:.4f}" for name, value in found.items())
    run.log.say(f"step {run.step} of {run.steps}: a probe of the frozen features reaches {words}")
    return found
