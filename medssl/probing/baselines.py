"""The baselines of a probe: untrained networks, the image in 8x8 pixels, and the frequency of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SIDE = 8


def untrained(make: Callable[[], nn.Module], seeds: Sequence[int]) -> dict[str, nn.Module]:
    """Untrained networks: what `make` builds with each of `seeds`; the random state of torch is restored afterwards.

    A seed gives the encoder with which a run of that seed starts.
    """
    found = {}
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found[f"untrained_{seed}"] = make()
    return found


class Pixels(nn.Module):
    """In place of an encoder: the image averaged over 8 cells per axis, as one level with one position."""

    def forward(self, x_BC: Tensor) -> tuple[Tensor]:
        """(B,C,*S) -> (B,C*8^n,1)."""
        return (_cells(x_BC).flatten(1)[..., None],)


def pixels(batches: Iterable[Tensor]) -> np.ndarray:
    """Images (B,C,*S) averaged over 8 cells per axis: (N,C*8^n)."""
    return np.concatenate([_cells(x_BC).flatten(1).numpy() for x_BC in batches])


def prior(y_NK: np.ndarray, cases: int) -> np.ndarray:
    """For every case the frequency of each class in the training targets (N,K), without any image: (cases,K)."""
    return np.repeat(np.asarray(y_NK, float).mean(0, keepdims=True), cases, 0)


def _cells(x_BC: Tensor) -> Tensor:
    pool = functional.adaptive_avg_pool2d if x_BC.ndim == 4 else functional.adaptive_avg_pool3d
    return pool(x_BC.float(), SIDE)
