"""The cost of a step: its time, the time spent waiting for data, and memory."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
MIB = 2**20


class Meter(Generic[T]):
    """Yields the batches of an iterator and measures how long each step waits for them."""

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
        """Seconds since the last call (`time`), those waiting for data (`data_wait`), peak `memory` (MiB) if known."""
        now = time.perf_counter()
        found = {"time": now - self._since, "data_wait": self._wait}
        self._wait, self._since = 0.0, now
        memory = peak_memory(self.device)
        return found if memory is None else {**found, "memory": memory / MIB}


def peak_memory(device: torch.device) -> int | None:
    """Peak memory so far in bytes, of a CUDA device or of this process; None where the system does not report it."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    return in_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.platform)


def in_bytes(ru_maxrss: int, platform: str) -> int:
    """Peak memory from getrusage in bytes: macOS counts bytes, Linux and the BSDs units of 1,024 bytes."""
    return ru_maxrss if platform == "darwin" else ru_maxrss * 1024
