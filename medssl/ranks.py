"""What passes between the ranks of one run; every function is the identity in a single process."""

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
    """Number of this rank, over all nodes."""
    return dist.get_rank() if _together() else 0


def part_at_exit() -> None:
    """Leave the other ranks before Python ends; call once the ranks have met.

    A thread of gloo may still hold the tensors of the last exchange, and to let go of them it needs an interpreter that
    is not being taken down: without this one in four ranks that end right after an exchange dies of SIGABRT.
    """
    atexit.register(_part)


def gather(x_B: Tensor) -> Tensor:
    """(B,*) of every rank -> (W*B,*) in rank order, the same on all ranks, without gradient; equal shapes on all."""
    x_B = x_B.detach()
    if world() == 1:
        return x_B
    parts = [torch.empty_like(x_B, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(parts, x_B.contiguous())
    return torch.cat(parts)


def gather_grad(x_B: Tensor) -> Tensor:
    """`gather` through which gradients flow: each rank receives the sum of what all ranks' losses send to its rows.

    With DDP, which averages over ranks, that is the gradient of the mean of the ranks' losses.
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
