"""Batches for pretraining, fine-tuning and the refresh of crop boxes, loaded in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from medssl import ranks
from medssl.engine.signals import leave_to_parent
from medssl.engine.stream import BatchStream
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch.utils.data import Dataset


def load(
    samples: Dataset[Any],
    batches: Iterable[list[Any]],
    collate: Callable[[list[Any]], Any] | None = None,
    *,
    workers: int,
    pin: bool = False,
) -> Iterator[Any]:
    """The batches whose keys `batches` yields. Raises InputError as the samples do, also from a worker process."""
    loader: DataLoader[Any] = DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=leave_to_parent,
        collate_fn=collate,
        pin_memory=pin,
        generator=torch.Generator(),  # otherwise every new loader would draw from the global random stream
    )
    try:
        yield from loader
    except InputError as error:  # from a worker process its message contains the traceback
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error


def steps(
    samples: Any,
    collate: Callable[[list[Any]], Any],
    *,
    batch: int,
    parts: int,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    device: torch.device,
) -> Iterator[Any]:
    """The batches of this rank for steps `start` to `stop`; a step takes `batch` samples over all ranks and `parts`."""
    stream = BatchStream(
        samples=len(samples),
        batch=batch // parts,
        seed=seed,
        start=start * parts,
        stop=stop * parts,
        rank=ranks.rank(),
        world=ranks.world(),
    )
    return load(samples, stream, collate, workers=workers, pin=device.type == "cuda")
