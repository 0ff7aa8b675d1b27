"""The order of samples, a function of (seed, step) alone, so that resuming and several ranks need no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator


def permutation(samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch; the spawn key separates this generator from those of samples, (seed, epoch, index)."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch], spawn_key=(0,))).permutation(samples)


class BatchStream(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) from batch `start` to `stop`, of which this rank takes its part.

    The stream is the epochs' permutations, one after the other; batch b takes the positions [b * batch,
    (b + 1) * batch), and rank r the r-th contiguous block of them, so that gathering gives the order of one process.
    A batch may span two epochs: no sample is dropped.
    """

    def __init__(
        self, *, samples: int, batch: int, seed: int, start: int, stop: int, rank: int = 0, world: int = 1
    ) -> None:
        if batch % world:
            raise ValueError(f"a batch of {batch} cannot be divided over {world} ranks")
        self.samples, self.batch, self.seed = samples, batch, seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        block = self.batch // self.world
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for b in range(self.start, self.stop):
            first = b * self.batch + self.rank * block
            chosen = []
            for position in range(first, first + block):
                if position // self.samples != epoch:
                    epoch = position // self.samples
                    order = permutation(self.samples, self.seed, epoch)
                chosen.append((epoch, int(order[position % self.samples])))
            yield chosen
