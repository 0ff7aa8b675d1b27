"""A fine-tuning under way, and its passage through a checkpoint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from medssl.engine import checkpoint
from medssl.run import out as out_room
from medssl.run.origin import Origin
from medssl.run.state import ELSEWHERE
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch import nn
    from torch.optim import Optimizer

    from medssl.data.cache import Cache
    from medssl.engine.log import TrainLog
    from medssl.recipe import FinetuneRecipe
    from medssl.run.labelled import Augment, Held
    from medssl.tasks.task import Task

BEST, LAST = "best.pt", "last.pt"


@dataclass
class Tuning:
    """All that one fine-tuning holds."""

    recipe: FinetuneRecipe
    resolved: dict[str, Any]
    out: Path
    fabric: Fabric
    cache: Cache
    subsets: dict[str, list[str]]
    task: Task
    augment: Augment
    model: nn.Module
    held: Held
    origin: Origin
    log: TrainLog
    optimizers: dict[str, Optimizer] = field(default_factory=dict)
    step: int = 0  # steps done
    best: float | None = None  # validation score of best.pt
    best_step: int = 0

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.train.steps

    def file(self, name: str) -> Path:
        """A checkpoint of this run."""
        return self.out / "checkpoints" / name


def save(run: Tuning, name: str) -> None:
    """Write last.pt or best.pt; the first rank alone does."""
    if run.fabric.is_global_zero:
        checkpoint.save(run.file(name), _content(run))


def restore(run: Tuning, content: dict[str, Any]) -> None:
    """Continue where `content` was written. Raises `InputError` if that was another run."""
    lines = [x for x in out_room.differences(content["recipe"], run.resolved) if not x.startswith(ELSEWHERE)]
    if content["data"]["cache"] != run.cache.hash:
        lines.append("the cache holds other data than it did")
    elif content["data"]["ids"] != _digest(run.subsets):
        lines.append("train, val and test are not the cases they were")
    if lines:
        raise InputError(
            f"resume=true continues the same run only, but {'; '.join(lines[:3])}: undo that, or choose another out="
        )
    state = content["state"]
    run.step, run.best, run.best_step = state["step"], state["best"], state["best_step"]
    run.origin = Origin(**state["origin"])
    run.model.load_state_dict(content["weights"])
    run.optimizers["main"].load_state_dict(content["optimizers"]["main"])
    torch.set_rng_state(state["generator"])


def leave(run: Tuning, error: Exception) -> NoReturn:
    """The first rank speaks for all: were others to fail as well, the launcher might kill it before it has spoken."""
    if run.fabric.is_global_zero:
        raise error
    raise SystemExit(0)


def _content(run: Tuning) -> dict[str, Any]:
    patients = {run.cache.cases[name].patient for name in run.subsets["train"]} | set(run.origin.patients)
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
            "generator": torch.get_rng_state(),
        },
        "recipe": run.resolved,
        "preprocessing": run.cache.preprocessing,
        "data": {
            "patients": sorted(patients),  # also those of the weights it started from
            "cache": run.cache.hash,
            "ids": _digest(run.subsets),
            "samples": len(run.subsets["train"]),
        },
    }


def _digest(subsets: dict[str, list[str]]) -> str:
    return hashlib.sha256(repr(sorted(subsets.items())).encode()).hexdigest()
