"""All ranks of a pretraining hold the same bits: weights, bank, queue and boxes are compared by hash."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import torch

from medssl import ranks
from medssl.run import health, resume
from medssl.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from medssl.run.state import Run


def check(run: Run) -> None:
    """Raise `InputError` naming what differs between ranks; all ranks call this, the first one speaks."""
    boxes = {f"crop.{name}": torch.as_tensor(value) for name, value in run.policy.state().items()}
    shared = {**run.pretext.state_dict(), **boxes}
    own = resume.norms(run.pretext)
    names = differing({name: tensor for name, tensor in shared.items() if name not in own})
    if not names:
        return
    message = (
        f"the ranks hold different {', '.join(names[:3])} after step {run.step} ({len(names)} of {len(shared)} "
        "tensors): look at the memory and the driver of each device; resume=true goes on from the checkpoint before"
    )
    health.leave(run.fabric, InputError(message))


def differing(tensors: dict[str, Tensor]) -> list[str]:
    """The names of tensors whose bits are not the same on all ranks; of different shapes too."""
    if ranks.world() == 1:
        return []
    some = next(iter(tensors.values()))
    mine = torch.tensor([_hash(tensor) for tensor in tensors.values()], device=some.device)
    every = ranks.gather(mine[None])
    return [name for name, same in zip(tensors, (every == every[0]).all(0).tolist(), strict=True) if not same]


def _hash(tensor: Tensor) -> int:
    return zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
