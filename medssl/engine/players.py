"""The players of the min-max game, each with its own optimizer, rebuilt when a stage turns a loss on or off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from medssl.engine.schedule import OptimizerSpec, optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch.nn import Parameter
    from torch.optim import Optimizer


def rebuild(
    players: Mapping[str, list[Parameter]], specs: Mapping[str, OptimizerSpec], before: Mapping[str, Optimizer]
) -> dict[str, Optimizer]:
    """Optimizers of the active players; parameters that were in an optimizer of `before` keep their state."""
    optimizers = {}
    for name, parameters in players.items():
        optimizers[name] = optimizer(specs[name], parameters)
        state = before[name].state if name in before else {}
        optimizers[name].state.update({p: state[p] for p in parameters if p in state})
    return optimizers


def set_rates(optimizers: Mapping[str, Optimizer], rates: Mapping[str, Sequence[float]]) -> None:
    """Give each parameter group of each player its learning rate."""
    for name, player in optimizers.items():
        for group, rate in zip(player.param_groups, rates[name], strict=True):
            group["lr"] = rate


def rates(optimizers: Mapping[str, Optimizer]) -> dict[str, float]:
    """The learning rate of each player, the highest where it has several parameter groups."""
    return {name: max(group["lr"] for group in player.param_groups) for name, player in optimizers.items()}


def norms(optimizers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    """The norm () of each player's gradient, on its device; not finite if any part of the gradient is not."""
    return {
        name: get_total_norm([p.grad for p in _parameters(player) if p.grad is not None])
        for name, player in optimizers.items()
    }


def step(optimizers: Mapping[str, Optimizer], specs: Mapping[str, OptimizerSpec], norms: Mapping[str, Tensor]) -> None:
    """One step of every player, each clipped by its own entry of `norms`; then the gradients are cleared."""
    for name, player in optimizers.items():
        clip = specs[name].clip
        if clip is not None:
            clip_grads_with_norm_(_parameters(player), clip, norms[name])
        player.step()
        player.zero_grad(set_to_none=True)


def _parameters(player: Optimizer) -> list[Parameter]:
    return [p for group in player.param_groups for p in group["params"]]
