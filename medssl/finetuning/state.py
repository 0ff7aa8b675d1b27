"""The state of a fine-tuning, saved to and restored from checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medssl.engine import checkpoint, phases
from medssl.recipe.paths import portable
from medssl.runtime import finite, resume
from medssl.runtime.training import TrainState

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_fabric.wrappers import _FabricModule
    from torch import nn

    from medssl.engine.phases import Group, Phase
    from medssl.patches import Augment, CaseCache
    from medssl.recipe import FinetuneRecipe
    from medssl.tasks.task import Task

BEST, LAST = "best.pt", resume.LAST


@dataclass(kw_only=True)
class FinetuneState(TrainState):
    """The state of one fine-tuning."""

    recipe: FinetuneRecipe
    subsets: dict[str, list[str]]
    task: Task
    augment: Augment
    model: nn.Module
    case_cache: CaseCache
    phases: list[Phase]
    groups: list[Group]  # in the order of the optimizer
    best: float | None = None  # validation score of best.pt
    best_step: int = 0

    def file(self, name: str) -> Path:
        """Path of a checkpoint of this run."""
        return self.out / "checkpoints" / name

    def learning_rates(self) -> dict[str, list[float]]:
        """Learning rate of each parameter group in each phase."""
        return {"main": phases.rates(self.specs["main"], self.phases, self.groups, self.step)}

    def shown_rates(self) -> dict[str, float]:
        """`lr.main`, the highest rate; and that of each group if there are several."""
        (found,) = self.learning_rates().values()
        several = {f"lr.{group.name}": rate for group, rate in zip(self.groups, found, strict=True)}
        return {"lr.main": max(found)} | (several if len(found) > 1 else {})


def begin(run: FinetuneState) -> _FabricModule:
    """Enter the phase of this step; returns the network to call.

    Parameters of weight 0 get no gradient and are in evaluation mode, so that batch-norm statistics stay too.
    """
    now = phases.number(run.phases, run.step)
    resting = set()
    for group in run.groups:
        for parameter in group.of(run.model):
            parameter.requires_grad_(group.weights[now] > 0)
            resting |= set() if group.weights[now] > 0 else {parameter}
    run.model.train()
    for part in run.model.modules():
        if resting.issuperset(own := list(part.parameters())) and own:
            part.eval()
    if len(run.phases) > 1:
        run.log.say(f"from step {run.step}: {', '.join(g.name for g in run.groups if g.weights[now])} learn")
    return run.fabric.setup_module(run.model)


def save(run: FinetuneState, name: str) -> None:
    """Write last.pt or best.pt; all ranks call it, rank 0 writes. Raises `InputError` if weights are not finite."""
    finite.check_weights(run.fabric, run.model, run.step)
    content = _content(run)
    if run.fabric.is_global_zero:
        checkpoint.save(run.file(name), content)


def restore(run: FinetuneState, content: dict[str, Any]) -> None:
    """Continue where `content` was written."""
    state = content["state"]
    run.step, run.best, run.best_step = state["step"], state["best"], state["best_step"]
    run.model.load_state_dict(content["weights"])
    run.optimizers["main"].load_state_dict(content["optimizers"]["main"])
    resume.take(run.model, run.fabric.device, state["ranks"])


def _content(run: FinetuneState) -> dict[str, Any]:
    return {
        "format": checkpoint.FORMAT,
        "verb": "finetune",
        "weights": run.model.state_dict(),
        "optimizers": {name: player.state_dict() for name, player in run.optimizers.items()},
        "state": {
            "step": run.step,
            "best": run.best,
            "best_step": run.best_step,
            "origin": run.origin._asdict(),
            "ranks": resume.of_ranks(run.model, run.fabric.device),
        },
        "recipe": portable(run.resolved),
        "preprocessing": run.cache.preprocessing,
        "data": resume.data(run.cache, run.subsets, run.origin.patients, run.origin.seen(run.cache)),
    }
