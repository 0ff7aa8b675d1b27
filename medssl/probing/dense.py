"""The dense probe: a linear map from the features of a voxel to its label, with all levels on one grid.

It shows what a frozen encoder knows about locations. D features per voxel (all levels joined), K classes including
background, *G the grid (of the finest level), *S an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from medssl.metrics import segmentation
from medssl.metrics.statistics import known_mean
from medssl.probing import features, voxels
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from medssl.data.cache import Cache
    from medssl.probing.voxels import Discriminant, Moments
    from medssl.types import Features

    Read = Callable[[Sequence[str]], Iterable["Field"]]

MEMORY = 2**30  # bytes of sums over voxels that are in memory at once
MODES = {2: "bilinear", 3: "trilinear"}


class Field(NamedTuple):
    """One image: its features on the grid, and its label as stored."""

    id: str
    x: np.ndarray  # (D,*G) float32
    label: np.ndarray  # (*S) integers


@torch.no_grad()
def fields(
    represent: Callable[[Tensor], Tensor],
    cache: Cache,
    ids: Sequence[str],
    size: tuple[int, ...],
    label: Callable[[str], np.ndarray],
    *,
    device: Any = "cpu",
) -> Iterator[Field]:
    """The cases `ids`, in order: each image is resized to `size` and turned into features, (B,C,*size) -> (B,D,*G)."""
    names = iter(ids)
    for x_BC in features.batched(features.images(cache, ids, size)):
        for x in represent(x_BC.to(device)).float().cpu().numpy():
            name = next(names)
            yield Field(name, x, label(name))


def stacked(maps: Features) -> Tensor:
    """All levels (B,C_level,*S_level) interpolated to the grid of the finest and joined, (B,D,*G) float32."""
    grid = maps[0].shape[2:]
    return torch.cat([resized(level.float(), grid) for level in maps], 1)


def resized(x_BC: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B,C,*S) to (B,C,*size) linearly; the centre stays in place."""
    size = tuple(int(side) for side in size)
    return x_BC if tuple(x_BC.shape[2:]) == size else functional.interpolate(x_BC, size, mode=MODES[x_BC.ndim - 2])


def patches(x_BC: Tensor, stride: Sequence[int], side: int = 8) -> Tensor:
    """Pixels around each cell of a grid of `stride`, `side` per axis, as a convolution sees it: (B,C*side^n,*G)."""
    n = x_BC.ndim - 2
    before = [(side - step) // 2 for step in stride]
    around = [pad for low, step in zip(before[::-1], stride[::-1], strict=True) for pad in (low, side - step - low)]
    found = functional.pad(x_BC, around, mode="replicate")
    for axis, step in enumerate(stride):
        found = found.unfold(2 + axis, side, step)
    axes = [0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n)]
    return found.permute(axes).flatten(1, 1 + n)


def label_on_grid(label: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """The label (*S) at the cell centres of `grid`: (*G)."""
    places = [((np.arange(g) + 0.5) * s / g).astype(int) for g, s in zip(grid, label.shape, strict=True)]
    return label[np.ix_(*places)]


def mask(probe: Discriminant, field: Field) -> np.ndarray:
    """The predicted mask (*S) on the grid of the label, from interpolated probabilities."""
    probability = torch.from_numpy(probe.predict(field.x))[None].float()
    return resized(probability, field.label.shape)[0].argmax(0).numpy()


def few_shot(
    read: Read, draws: Mapping[str, Sequence[str]], val: Sequence[str], test: Sequence[str], classes: int
) -> dict[str, dict[str, np.ndarray]]:
    """The mask (*S) of each test image for each draw of training ids: {draw: {id: mask}}.

    `read(ids)` yields the images in that order, one at a time, as they may not fit into memory together. Shrinkage
    and prior are those with the best mean Dice on `val`, on the grid of the features; without `val`, `voxels.DEFAULT`.
    Raises `InputError` for a draw without images.
    """
    chosen: dict[str, Discriminant] = {}
    for part in _parts(read, draws, classes):
        candidates = {name: _candidates(found, bool(val)) for name, found in part.items()}
        chosen |= choose(candidates, read(val), classes) if val else {k: probes[0] for k, probes in candidates.items()}
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in draws}
    for field in read(test):
        for name, probe in chosen.items():
            found[name][field.id] = mask(probe, field)
    return found


def choose(
    candidates: Mapping[str, Sequence[Discriminant]], val: Iterable[Field], classes: int
) -> dict[str, Discriminant]:
    """The candidate of each group with the best mean Dice over validation images, on the grid of the features."""
    probes = {(name, number): probe for name, of in candidates.items() for number, probe in enumerate(of)}
    weight = np.concatenate([probe.weight for probe in probes.values()], 1)
    bias = np.concatenate([probe.bias for probe in probes.values()])
    scores: dict[tuple[str, int], list[float]] = {key: [] for key in probes}
    for field in val:
        label = label_on_grid(field.label, field.x.shape[1:])
        logits = field.x.reshape(len(field.x), -1).T.astype(np.float64) @ weight + bias
        masks = logits.reshape(*label.shape, len(probes), classes).argmax(-1)
        for number, key in enumerate(probes):
            scores[key].append(known_mean(segmentation.dice(masks[..., number], label, classes - 1)))
    means = {key: known_mean(of) for key, of in scores.items()}
    return {name: of[_best([means[name, i] for i in range(len(of))])] for name, of in candidates.items()}


def _candidates(found: Moments, several: bool) -> list[Discriminant]:
    if several:
        return voxels.fit(found)
    shrinkage, prior = voxels.DEFAULT
    return voxels.fit(found, shrinkage=[shrinkage], prior=[prior])


def _parts(read: Read, draws: Mapping[str, Sequence[str]], classes: int) -> Iterator[dict[str, Moments]]:
    """The sums over voxels of each draw, for as many draws at once as MEMORY allows."""
    if empty := [name for name, ids in draws.items() if not ids]:
        raise InputError(f"a dense probe needs labelled training images, but draw {empty[0]} has none")
    names = list(draws)
    first = next(iter(read(list(draws[names[0]])[:1])))
    at_once = max(1, MEMORY // (8 * len(first.x) ** 2))
    for start in range(0, len(names), at_once):
        part: dict[str, Moments] = {}
        wanted = names[start : start + at_once]
        for field in read(sorted({i for name in wanted for i in draws[name]})):
            found = voxels.moments(field.x, label_on_grid(field.label, field.x.shape[1:]), classes)
            for name in wanted:
                if field.id in draws[name]:
                    part[name] = part[name] + found if name in part else found
        yield part


def _best(scores: Sequence[float]) -> int:
    return int(np.nanargmax(scores)) if not np.isnan(scores).all() else 0
