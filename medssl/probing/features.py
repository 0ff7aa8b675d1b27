"""Features of a frozen encoder: mean and standard deviation of each level over an image, and dense maps.

N images, B batch, C channels, D numbers per image, *S = H,W or D,H,W. All is float32, in evaluation mode.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from medssl.data.cache import Reading
from medssl.models.mode import evaluating
from medssl.patches import network_input
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from medssl.data.cache import Cache
    from medssl.types import Features

Pool = Literal["mean", "mean_std", "all_levels"]
POOLS: tuple[Pool, ...] = ("mean", "mean_std", "all_levels")
BATCH = 64


class Pooled(NamedTuple):
    """Mean and standard deviation over the voxels of each level; levels from fine to coarse."""

    mean: tuple[np.ndarray, ...]  # (N,C_level) float32 each
    std: tuple[np.ndarray, ...]

    def select(self, pool: Pool = "mean", level: int = -1) -> np.ndarray:
        """(N,D): the `mean` of one level, its `mean_std`, or both for `all_levels` (then `level` is ignored)."""
        if pool == "all_levels":
            return np.concatenate([part for pair in zip(self.mean, self.std, strict=True) for part in pair], 1)
        check_level(level, len(self.mean))
        return self.mean[level] if pool == "mean" else np.concatenate([self.mean[level], self.std[level]], 1)


def check_level(level: int, levels: int) -> None:
    """Raise `InputError` if an encoder with `levels` levels has no such level."""
    if not -levels <= level < levels:
        raise InputError(f"level is {level}, but the encoder has levels 0 (finest) to {levels - 1}; -1 is the last")


def pool(maps: Features) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and population standard deviation of each level (B,C,*S) over its voxels, (B,C) each."""
    flat = [level.float().flatten(2) for level in maps]
    return [level.mean(-1) for level in flat], [level.std(-1, correction=0) for level in flat]


@torch.no_grad()
def extract(networks: Mapping[str, nn.Module], batches: Iterable[Tensor], device: Any = "cpu") -> dict[str, Pooled]:
    """The pooled features of several encoders in one pass over the images (B,C,*S), in [0,1].

    The encoders run in evaluation mode; afterwards their mode is restored.
    """
    found: dict[str, list[tuple[list[Tensor], list[Tensor]]]] = {name: [] for name in networks}
    with ExitStack() as modes:
        for network in networks.values():
            modes.enter_context(evaluating(network))
        for x_BC in batches:
            for name, network in networks.items():
                mean, std = pool(network(x_BC.to(device, precision(network))))
                found[name].append(([part.cpu() for part in mean], [part.cpu() for part in std]))
    return {name: Pooled(_joined(of, 0), _joined(of, 1)) for name, of in found.items()}


def of_cache(
    network: nn.Module, cache: Cache, ids: Sequence[str], size: tuple[int, ...], *, device: Any = "cpu"
) -> Pooled:
    """The pooled features of the cases `ids`, with each image resized to `size` as for a classifier."""
    return extract({"": network}, batched(images(cache, ids, size)), device)[""]


def images(cache: Cache, ids: Iterable[str], size: tuple[int, ...]) -> Iterator[Tensor]:
    """The whole image of each case, resized (by averaging or interpolation) to (C,*size), in [0,1]."""
    for name in ids:
        case = cache.cases[name]
        source = Reading(cache.image(name), f"case {name} of {cache.path}")
        yield network_input(source, case.intensity, case.spacing, size, dense=False)[0]


def batched(found: Iterable[Tensor], batch: int = BATCH) -> Iterator[Tensor]:
    """Stack consecutive images (C,*S) of equal shape to (B,C,*S), at most `batch` at once."""
    held: list[Tensor] = []
    for image in found:
        if held and (len(held) == batch or held[0].shape != image.shape):
            yield torch.stack(held)
            held = []
        held.append(image)
    if held:
        yield torch.stack(held)


def precision(network: nn.Module) -> torch.dtype:
    """The dtype of a network's weights, which may be float64."""
    return next((weight.dtype for weight in network.parameters()), torch.float32)


def _joined(parts: Sequence[tuple[list[Tensor], list[Tensor]]], which: int) -> tuple[np.ndarray, ...]:
    return tuple(torch.cat(level).numpy() for level in zip(*(part[which] for part in parts), strict=True))
