"""Communication between the ranks (processes) of one run. In a single process every function returns its input."""

from __future__ import annotations

import atexit
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """Number of ranks."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """Number of this rank, counted over all nodes."""
    return dist.get_rank() if _together() else 0


def part_at_exit() -> None:
    """Shut down communication before Python exits; call it once the ranks are connected.

    A gloo thread may still hold the tensors of the last exchange, and it needs a running interpreter to release them.
    Without this, one in four ranks that exit right after an exchange dies of SIGABRT.
    """
    atexit.register(_part)


def gather(x_B: Tensor) -> Tensor:
    """Concatenate (B,*) of all W ranks in rank order -> (W*B,*), without gradient; all ranks must have equal shapes."""
    x_B = x_B.detach()
    if world() == 1:
        return x_B
    parts = [torch.empty_like(x_B, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(parts, x_B.contiguous())
    return torch.cat(parts)


def gather_grad(x_B: Tensor) -> Tensor:
    """`gather` with gradients: each rank's rows receive the sum of the gradients of all ranks' losses.

    With DDP, which averages over ranks, this is the gradient of the mean of the ranks' losses.
    """
    return x_B if world() == 1 else _Gather.apply(x_B)


def broadcast(x: Tensor) -> Tensor:
    """Rank 0's tensor on every rank, without gradient."""
    x = x.detach()
    if world() == 1:
        return x
    x = x.clone(memory_format=torch.contiguous_format)
    dist.broadcast(x, src=0)
    return x


def _part() -> None:
    if _together():
        dist.destroy_process_group()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_B: Tensor) -> Tensor:
        ctx.rows = len(x_B)
        return gather(x_B)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        start = rank() * ctx.rows
        return grad[start : start + ctx.rows]
