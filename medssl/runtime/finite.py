"""Stop training before a NaN or infinite loss, gradient or weight is used or saved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

import torch

from medssl import ranks
from medssl.types import InputError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lightning_fabric import Fabric
    from torch import Tensor, nn

TOTAL = "the weighted sum of losses"


def gradients(norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The norms of the players' gradients (`players.norms`) under their names in `not_finite`."""
    return {f"the gradient of {name}": norm for name, norm in norms.items()}


def not_finite(record: Mapping[str, float]) -> list[str]:
    """Names of the values that forbid a step: losses, or, if those are finite, their sum and the gradients.

    Diagnostics (`metric.*`) may be infinite or NaN without harm.
    """
    bad = [name for name, value in record.items() if not name.startswith("metric.") and not math.isfinite(value)]
    return [name for name in bad if name.startswith("loss.")] or bad


def sentence(bad: Sequence[str], step: int, players: Sequence[str], samples: Sequence[str] = ()) -> str:
    """The error message of a step that was not made, naming the learning rate to lower: an adversary's if only its
    values are not finite, else that of main.
    """
    player = next((name for name in players if all(what.endswith(name) for what in bad)), "main")
    look = ": look at them with `medssl preview`,"
    met = f" with the samples {', '.join(dict.fromkeys(samples))}{look}" if samples else ":"
    cure = "lower the weights of losses"
    if step > 0:  # before the first step no learning rate has had an effect
        rate = f"optimizers.{player}.lr or set optimizers.{player}.clip"
        cure = f"{cure}, {rate}" if TOTAL in bad else f"lower {rate}"
    return (
        f"{', '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite at step {step}{met} {cure}; "
        f"the step was not made{', the last checkpoint is kept' if step else ''}"
    )


@torch.no_grad()
def check_weights(fabric: Fabric, model: nn.Module, step: int) -> None:
    """Raise InputError, on all ranks alike, if a tensor of `model` is not finite or so large that its norm is not.

    Loss and gradient were checked before the step; this checks the weights that resulted from it.
    """
    tensors = {name: x for name, x in model.state_dict().items() if x.is_floating_point()}
    norms = torch.stack([x.norm().double() for x in tensors.values()])
    fine = ranks.gather(norms[None]).isfinite().all(0).tolist()
    bad = [name for name, finite in zip(tensors, fine, strict=True) if not finite]
    if bad:
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        message = (
            f"{bad[0]}{more} of the network cannot be used after step {step}, being not finite or too large: "
            "lower the lr of optimizers, or set their clip; this step was not saved, earlier checkpoints are kept"
        )
        leave(fabric, InputError(message))


def leave(fabric: Fabric, error: InputError | Interrupted) -> NoReturn:
    """End the run on this rank. Rank 0 reports the error; on the others it is `quiet` and does not count as a failure.

    If their processes failed as well, the launcher might kill rank 0 before it has reported.
    """
    error.quiet = not fabric.is_global_zero
    raise error
