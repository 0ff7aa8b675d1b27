"""A fine-tuning under way, and its passage through a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medssl.engine import checkpoint
from medssl.runtime import finite, resume
from medssl.runtime.training import TrainState

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from medssl.patches import Augment, CaseCache
    from medssl.recipe import FinetuneRecipe
    from medssl.tasks.task import Task

BEST, LAST = "best.pt", resume.LAST


@dataclass(kw_only=True)
class FinetuneState(TrainState):
    """All that one fine-tuning holds."""

    recipe: FinetuneRecipe
    subsets: dict[str, list[str]]
    task: Task
    augment: Augment
    model: nn.Module
    held: CaseCache
    best: float | None = None  # validation score of best.pt
    best_step: int = 0

    def file(self, name: str) -> Path:
        """A checkpoint of this run."""
        return self.out / "checkpoints" / name


def save(run: FinetuneState, name: str) -> None:
    """Write last.pt or best.pt; all ranks call it, the first writes. Raises InputError for weights gone bad."""
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
        "recipe": resume.portable(run.resolved),
        "preprocessing": run.cache.preprocessing,
        "data": resume.data(run.cache, run.subsets, run.origin.patients),
    }
