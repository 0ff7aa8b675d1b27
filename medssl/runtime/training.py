"""The training step of pretraining and fine-tuning: accumulate, gather over ranks, check for NaN, and step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch

from medssl import ranks
from medssl.engine import players
from medssl.engine.schedule import learning_rate
from medssl.runtime import finite
from medssl.runtime.init_weights import FRESH, Origin
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch import Tensor
    from torch.optim import Optimizer

    from medssl.data.cache import Cache
    from medssl.engine.log import TrainLog
    from medssl.engine.schedule import OptimizerSpec
    from medssl.recipe import Recipe


@dataclass(kw_only=True)
class TrainState:
    """The state that pretraining and fine-tuning have in common."""

    recipe: Recipe  # with times in steps or shares of the run
    resolved: dict[str, Any]
    out: Path
    fabric: Fabric
    cache: Cache
    log: TrainLog
    specs: dict[str, OptimizerSpec]
    optimizers: dict[str, Optimizer] = field(default_factory=dict)  # of the active players
    origin: Origin = FRESH
    step: int = 0  # steps done

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return self.recipe.train.steps

    def learning_rates(self) -> dict[str, list[float]]:
        """The current learning rates of each player, one per parameter group."""
        return {name: [learning_rate(self.specs[name], self.step, self.steps)] for name in self.optimizers}


class Part(NamedTuple):
    """The result of one forward; scalars."""

    total: Tensor  # the loss for backward
    values: dict[str, Tensor]  # `loss.NAME` and `metric.NAME`, which are logged
    samples: Sequence[str] = ()  # names of the samples, for the message if a value is not finite


def step(run: TrainState, module: Any, forward: Callable[[], Part], *, asked: bool) -> dict[str, float]:
    """Make step `run.step` of all players; returns the values of `forward`, averaged over ranks and parts.

    `forward` is called once per accumulated part. `stop` among the values is above 0 if any rank was `asked` to stop.
    Raises InputError, on rank 0, if a value or gradient is not finite; the step is not made then.
    """
    parts = run.recipe.train.accumulate
    players.set_rates(run.optimizers, run.learning_rates())
    values: list[Tensor] = []
    samples: list[str] = []
    for number in range(parts):
        with run.fabric.no_backward_sync(module, enabled=number < parts - 1 and ranks.world() > 1):
            part = forward()
            run.fabric.backward(part.total / parts)
        values.append(torch.stack([value.detach().double() for value in (*part.values.values(), part.total)]))
        samples += part.samples
    norms = players.norms(run.optimizers)
    checked = torch.stack([norm.double() for norm in norms.values()])
    mine = torch.cat([torch.stack(values).mean(0), checked, checked.new_tensor([float(asked)])])
    of_ranks = ranks.gather(mine[None])
    names = [*part.values, finite.TOTAL, *finite.gradients(norms), "stop"]
    record = dict(zip(names, of_ranks.mean(0).tolist(), strict=True))
    if bad := finite.not_finite(record):  # before the step, which would spoil the weights
        _refuse(run, bad, samples, of_ranks[:, [names.index(name) for name in bad]])
    players.step(run.optimizers, run.specs, norms)
    return {name: record[name] for name in (*part.values, "stop")}


def _refuse(run: TrainState, bad: Sequence[str], samples: list[str], of_ranks: Tensor) -> NoReturn:
    """Stop at values that are not finite, naming the samples of the ranks where they occurred."""
    every: list[Any] = [samples]
    if ranks.world() > 1:
        every = [None] * ranks.world()
        torch.distributed.all_gather_object(every, samples)
    met = (~torch.isfinite(of_ranks).all(1)).tolist()
    names = [name for rank, ill in zip(every, met, strict=True) if ill for name in rank]
    message = finite.sentence(bad, run.step, list(run.optimizers), names)
    run.log.say(message)
    finite.leave(run.fabric, InputError(message))
