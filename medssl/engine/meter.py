"""What a step costs: its time, the part of it spent waiting for data, and memory."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Meter(Generic[T]):
    """Hands on the batches of an iterator and measures how long each step waits for them."""

    def __init__(self, device: torch.device, batches: Iterator[T]) -> None:
        self.device, self._batches = device, batches
        self._wait, self._since = 0.0, time.perf_counter()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        asked = time.perf_counter()
        batch = next(self._batches)
        self._wait += time.perf_counter() - asked
        return batch

    def read(self) -> dict[str, float]:
        """Seconds since the last reading (`time`), those spent waiting (`data_wait`), peak `memory` in MiB."""
        now = time.perf_counter()
        found = {"time": now - self._since, "data_wait": self._wait, "memory": self._memory()}
        self._wait, self._since = 0.0, now
        return found

    def _memory(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
