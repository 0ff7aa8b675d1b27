"""The phases of a fine-tuning: which parameter groups are trained in each, and at what share of the learning rate.

A group is the encoder's level N as `encoder.N` (0 is the finest) or another part as a whole: `decoder`, `head`. Within
a phase the learning rate follows its schedule from the first step to the last, as in a separate run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from medssl.engine.schedule import learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn
    from torch.nn import Parameter

    from medssl.engine.schedule import OptimizerSpec

ENCODER = "encoder"


class Phase(NamedTuple):
    """From the end of the phase before, or step 0, up to `stop`."""

    stop: int  # the first step after it
    warmup: int  # its first steps, over which the rate rises linearly
    weights: Mapping[str, float]  # share of the rate of each group; at 0 a group is frozen


class Group(NamedTuple):
    """Parameters with the same weights in all phases: one group of the optimizer."""

    name: str
    parameters: list[str]  # their names
    weights: tuple[float, ...]  # in each phase

    def of(self, network: nn.Module) -> list[Parameter]:
        """Its parameters in a network."""
        return [network.get_parameter(name) for name in self.parameters]


def merged(group_of: Mapping[str, str], phases: Sequence[Phase]) -> list[Group]:
    """The groups of the optimizer, from the group of each parameter (in the order of the network)."""
    found: dict[tuple[float, ...], list[str]] = {}
    for parameter, name in group_of.items():
        found.setdefault(tuple(phase.weights[name] for phase in phases), []).append(parameter)
    return [Group(_name(group_of, own), own, weights) for weights, own in found.items()]


def _name(group_of: Mapping[str, str], parameters: Sequence[str]) -> str:
    """`encoder` for all of its levels, else what the first parameter belongs to."""
    first = group_of[parameters[0]]
    part, own = first.split(".")[0], {group_of[name] for name in parameters}
    levels = {name for name in group_of.values() if name.split(".")[0] == part}
    return part if levels <= own else first


def number(phases: Sequence[Phase], step: int) -> int:
    """The number of the phase that `step` lies in."""
    return next(n for n, phase in enumerate(phases) if step < phase.stop)


def begins(phases: Sequence[Phase], step: int) -> bool:
    """Whether a phase other than the first begins at `step`."""
    return step in [phase.stop for phase in phases[:-1]]


def rates(spec: OptimizerSpec, phases: Sequence[Phase], groups: Sequence[Group], step: int) -> list[float]:
    """The learning rate of each group at `step`; the phase's warm-up replaces the optimizer's."""
    now = number(phases, step)
    start = phases[now - 1].stop if now else 0
    rate = learning_rate(spec._replace(warmup=phases[now].warmup), step - start, phases[now].stop - start)
    return [group.weights[now] * rate for group in groups]
