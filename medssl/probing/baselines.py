"""What a frozen encoder has to beat: untrained networks, the image in 8x8 pixels, and the share of each class."""

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
    """The network that `make` builds, before any training, once for each of `seeds`; torch's generator stays as it is.

    A seed gives the encoder that a run of that seed starts from.
    """
    found = {}
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found[f"untrained_{seed}"] = make()
    return found


class Pixels(nn.Module):
    """Stands where an encoder does, and shows the image in 8 cells an axis: one level of one place."""

    def forward(self, x_BC: Tensor) -> tuple[Tensor]:
        """(B,C,*S) -> (B,C*8^n,1)."""
        return (_cells(x_BC).flatten(1)[..., None],)


def pixels(batches: Iterable[Tensor]) -> np.ndarray:
    """(N,C*8^n): images (B,C,*S) averaged over 8 cells an axis."""
    return np.concatenate([_cells(x_BC).flatten(1).numpy() for x_BC in batches])


def prior(y_NK: np.ndarray, cases: int) -> np.ndarray:
    """(cases,K): for every case the share of each class in training targets (N,K), with no image at all."""
    return np.repeat(np.asarray(y_NK, float).mean(0, keepdims=True), cases, 0)


def _cells(x_BC: Tensor) -> Tensor:
    pool = functional.adaptive_avg_pool2d if x_BC.ndim == 4 else functional.adaptive_avg_pool3d
    return pool(x_BC.float(), SIDE)
