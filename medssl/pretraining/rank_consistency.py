"""Checks that all ranks of a pretraining are bitwise identical: weights, bank, queue and boxes, compared by hash."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import torch

from medssl import ranks
from medssl.runtime import finite, resume
from medssl.types import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor, nn

    from medssl.types import CropPolicy


def check(fabric: Fabric, pretext: nn.Module, policy: CropPolicy, step: int) -> None:
    """Check that weights, buffers and crop boxes are identical on all ranks after `step` steps.

    Call on every rank; rank 0 raises InputError, naming the tensors that differ.
    """
    boxes = {f"crop.{name}": torch.as_tensor(value) for name, value in policy.state().items()}
    shared = {**pretext.state_dict(), **boxes}
    own = resume.norms(pretext)
    names = differing({name: tensor for name, tensor in shared.items() if name not in own})
    if not names:
        return
    message = (
        f"{', '.join(names[:3])} differ between ranks after step {step} ({len(names)} of {len(shared)} "
        "tensors): check the memory and the driver of each device; resume=true continues from the checkpoint before"
    )
    finite.leave(fabric, InputError(message))


def differing(tensors: dict[str, Tensor]) -> list[str]:
    """The names of tensors whose bits, or shapes, are not the same on all ranks."""
    if ranks.world() == 1:
        return []
    some = next(iter(tensors.values()))
    mine = torch.tensor([_hash(tensor) for tensor in tensors.values()], device=some.device)
    every = ranks.gather(mine[None])
    return [name for name, same in zip(tensors, (every == every[0]).all(0).tolist(), strict=True) if not same]


def _hash(tensor: Tensor) -> int:
    return zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
