"""A pretraining under way, and its way through a checkpoint: everything that moves goes in and comes back exactly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from medssl import ranks
from medssl.engine import checkpoint
from medssl.run import out as out_room
from medssl.types import InputError
from medssl.views import Sample, ViewsDataset

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch.optim import Optimizer

    from medssl.data.cache import Cache
    from medssl.engine.log import TrainLog
    from medssl.engine.schedule import Weight
    from medssl.pretext import Pretext
    from medssl.recipe import PretrainRecipe
    from medssl.views import ViewMaker

ELSEWHERE = ("data.cache", "data.manifest", "data.splits", "data.workers")  # where data lies does not change a run


class SameViews(ViewsDataset):
    """The views of epoch 0, whatever the epoch."""

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The views of sample `index`, as in epoch 0."""
        return super().__getitem__((0, key[1]))


@dataclass
class Run:
    """All that one pretraining holds."""

    recipe: PretrainRecipe
    resolved: dict[str, Any]
    out: Path
    fabric: Fabric
    cache: Cache
    ids: list[str]
    pretext: Pretext
    maker: ViewMaker
    policy: Any  # a CropPolicy with `state`, `load` and `statistics`
    weights: dict[str, Weight]
    log: TrainLog
    optimizers: dict[str, Optimizer] = field(default_factory=dict)
    fixed: bool = False  # each sample shows the same views at every step
    on: set[str] = field(default_factory=set)  # losses of the running stage
    step: int = 0  # steps done

    def views(self) -> ViewsDataset:
        """The views of the samples, as a data set."""
        kind = SameViews if self.fixed else ViewsDataset
        return kind(self.cache, self.ids, self.maker, self.policy, self.recipe.seed)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.train.steps


def save(run: Run) -> None:
    """Write last.pt and step_N.pt; all ranks call it, the first writes."""
    content = _content(run)
    if run.fabric.is_global_zero:
        folder = run.out / "checkpoints"
        checkpoint.save(folder / f"step_{run.step}.pt", content)
        checkpoint.copy(folder / f"step_{run.step}.pt", folder / "last.pt")
    run.fabric.barrier()


def restore(run: Run, content: dict[str, Any]) -> None:
    """Take everything but the optimizers from a checkpoint; they are loaded by `restore_optimizers` once they exist."""
    state = content["state"]
    run.step = state["step"]
    run.pretext.load_state_dict(content["weights"])
    run.policy.load(state["crop"])
    _set_own(run, state["ranks"][ranks.rank()])


def restore_optimizers(run: Run, content: dict[str, Any]) -> None:
    """Give the optimizers of the running stage their state."""
    for name, state in content["optimizers"].items():
        if name in run.optimizers:
            run.optimizers[name].load_state_dict(state)


def check_same(run: Run, content: dict[str, Any]) -> None:
    """Refuse to continue another run: InputError naming what differs in recipe, data or ranks."""
    lines = out_room.differences(content["recipe"], run.resolved)
    lines = [line for line in lines if not line.startswith(ELSEWHERE)]
    before, world = len(content["state"]["ranks"]), ranks.world()
    if before != world:
        lines.append(f"the number of devices is {world}, was {before}")
    if content["data"]["cache"] != run.cache.hash:
        lines.append("the cache holds other data than it did")
    elif content["data"]["ids"] != _digest(run.ids):
        lines.append(f"the training subset has {len(run.ids)} samples, had {content['data']['samples']} or others")
    if lines:
        raise InputError(
            f"resume=true continues the same run only, but {'; '.join(lines[:3])}: "
            "undo that, or start a new run with init= and another out="
        )


def _content(run: Run) -> dict[str, Any]:
    cases = [run.cache.cases[name] for name in run.ids]
    return {
        "format": checkpoint.FORMAT,
        "verb": "pretrain",
        "weights": dict(run.pretext.state_dict()),
        "optimizers": {name: player.state_dict() for name, player in run.optimizers.items()},
        "state": {"step": run.step, "crop": run.policy.state(), "ranks": _gathered(_own(run))},
        "recipe": run.resolved,
        "preprocessing": run.cache.preprocessing,
        "data": {
            "patients": sorted({case.patient for case in cases}),
            "cache": run.cache.hash,
            "ids": _digest(run.ids),
            "samples": len(run.ids),
        },
    }


def _own(run: Run) -> dict[str, Any]:
    """What differs between ranks: random streams, and running statistics of batch norms, which see a rank's share."""
    device = run.fabric.device
    return {
        "generators": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        },
        "norms": {name: buffer.cpu().clone() for name, buffer in _norms(run.pretext).items()},
    }


def _set_own(run: Run, own: dict[str, Any]) -> None:
    torch.set_rng_state(own["generators"]["cpu"])
    if own["generators"]["cuda"] is not None and run.fabric.device.type == "cuda":
        torch.cuda.set_rng_state(own["generators"]["cuda"], run.fabric.device)
    for name, buffer in _norms(run.pretext).items():
        buffer.copy_(own["norms"][name])


def _norms(pretext: nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": buffer
        for name, module in pretext.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for key, buffer in module.named_buffers(recurse=False)
    }


def _gathered(own: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry a rank, in rank order."""
    if ranks.world() == 1:
        return [own]
    every: list[Any] = [None] * ranks.world()
    torch.distributed.all_gather_object(every, own)
    return every


def _digest(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
