"""What is not finite is neither learned from nor kept: the loops of pretraining and fine-tuning stop before that."""

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
    """The norms of the players' gradients (`players.norms`) under the names that `not_finite` calls them by."""
    return {f"the gradient of {name}": norm for name, norm in norms.items()}


def not_finite(record: Mapping[str, float]) -> list[str]:
    """Names of a step that must not be made: its losses, or where those are finite, their sum and the gradients.

    Diagnostics (`metric.*`) may be infinite or NaN without harm.
    """
    bad = [name for name, value in record.items() if not name.startswith("metric.") and not math.isfinite(value)]
    return [name for name in bad if name.startswith("loss.")] or bad


def sentence(bad: Sequence[str], step: int, players: Sequence[str], samples: Sequence[str] = ()) -> str:
    """What to say of a step that was not made, and which player's rate to lower: a rival's, if only that is ill."""
    player = next((name for name in players if all(what.endswith(name) for what in bad)), "main")
    look = ": look at them with `medssl preview`,"
    met = f" with the samples {', '.join(dict.fromkeys(samples))}{look}" if samples else ":"
    cure = "lower the weights of losses"
    if step > 0:  # before the first step no rate has done anything yet
        rate = f"optimizers.{player}.lr or set optimizers.{player}.clip"
        cure = f"{cure}, {rate}" if TOTAL in bad else f"lower {rate}"
    return (
        f"{', '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite at step {step}{met} {cure}; "
        f"the step was not made{', the last checkpoint is kept' if step else ''}"
    )


@torch.no_grad()
def check_weights(fabric: Fabric, model: nn.Module, step: int) -> None:
    """Stop, on all ranks alike, where a tensor of `model` is not finite or so large that its norm is not.

    The loss and the gradient of a step were finite before it was made; only this sees what the step then made of them.
    """
    tensors = {name: x for name, x in model.state_dict().items() if x.is_floating_point()}
    norms = torch.stack([x.norm().double() for x in tensors.values()])
    fine = ranks.gather(norms[None]).isfinite().all(0).tolist()
    bad = [name for name, finite in zip(tensors, fine, strict=True) if not finite]
    if bad:
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        message = (
            f"{bad[0]}{more} of the network cannot be computed with after step {step}, being not finite or too large: "
            "lower the lr of optimizers, or set their clip; this step was not saved and earlier checkpoints are kept"
        )
        leave(fabric, InputError(message))


def leave(fabric: Fabric, error: InputError | Interrupted) -> NoReturn:
    """End the run on this rank. The first speaks for all: on the others the error is `quiet`, and no failure.

    Were their processes to fail as well, the launcher might kill the first before it has spoken.
    """
    error.quiet = not fabric.is_global_zero
    raise error
