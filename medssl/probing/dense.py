"""The dense probe: a linear map from the features of one place to the label there, all levels on one grid.

It shows what a frozen encoder knows of where things are. D features a voxel (all levels joined), K classes, background
included, M voxels, *G the grid (that of the finest level), *S an image.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from medssl.metrics import segmentation
from medssl.probing import choice, features
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from medssl.data.cache import Cache
    from medssl.probing.choice import Scaling
    from medssl.types import Features

GRID = (1e-1, 1e1, 1e3)
VOXELS = 20_000  # that a fit uses at most, over all its images
ITERATIONS = 50
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Field(NamedTuple):
    """One image: its features on the grid, and its label as it is stored."""

    id: str
    x: np.ndarray  # (D,*G) float32
    label: np.ndarray  # (*S) integers


class VoxelLogistic(NamedTuple):
    """A fitted logistic regression of one voxel's features."""

    scaling: Scaling
    weight: np.ndarray  # (D,K), of standardised features
    bias: np.ndarray  # (K,)
    C: float

    def predict(self, x_D: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The mask (*shape) of features (D,*G): probabilities, interpolated to the label's grid, decide."""
        flat = self.scaling(x_D.reshape(len(x_D), -1).T) @ self.weight + self.bias
        probability = softmax(flat, axis=1).T.reshape(-1, *x_D.shape[1:])
        return resized(torch.from_numpy(probability)[None].float(), shape)[0].argmax(0).numpy()


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
    """The cases `ids`, in order: each image resized to `size` and represented, (B,C,*size) -> (B,D,*G)."""
    names = iter(ids)
    for x_BC in features.batched(features.images(cache, ids, size)):
        for x in represent(x_BC.to(device)).float().cpu().numpy():
            name = next(names)
            yield Field(name, x, label(name))


def stacked(maps: Features) -> Tensor:
    """All levels (B,C_level,*S_level) interpolated to the finest one's grid and joined, (B,D,*G) float32."""
    grid = maps[0].shape[2:]
    return torch.cat([resized(level.float(), grid) for level in maps], 1)


def resized(x_BC: Tensor, size: Sequence[int]) -> Tensor:
    """(B,C,*S) -> (B,C,*size), linear, voxel centres kept where they lie in the image; downwards with averaging."""
    size = tuple(int(side) for side in size)
    if tuple(x_BC.shape[2:]) == size:
        return x_BC
    if x_BC.ndim == 4:
        return functional.interpolate(x_BC, size, mode="bilinear", antialias=True)
    return functional.interpolate(x_BC, size, mode=MODES[x_BC.ndim - 2])


def label_on_grid(label: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """The label (*S) at the centres of the cells of `grid`, (*G)."""
    places = [((np.arange(g) + 0.5) * s / g).astype(int) for g, s in zip(grid, label.shape, strict=True)]
    return label[np.ix_(*places)]


def sample(field: Field, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (M,D), labels (M,) and weights (M,) of at most about `most` voxels of an image.

    Every label value has an equal share of them as far as it reaches; the weights make up for what was left out.
    """
    x, y = field.x.reshape(len(field.x), -1).T, label_on_grid(field.label, field.x.shape[1:]).ravel()
    if len(y) <= most:
        return x, y, np.ones(len(y))
    values = np.unique(y)
    chosen, weights = [], []
    for value in values:
        places = np.flatnonzero(y == value)
        taken = rng.permutation(places)[: max(1, most // len(values))]
        chosen.append(np.sort(taken))
        weights.append(np.full(len(taken), len(places) / len(taken)))
    index = np.concatenate(chosen)
    return x[index], y[index], np.concatenate(weights)


def fit(
    images: Sequence[Field], classes: int, *, grid: Sequence[float] = GRID, voxels: int = VOXELS, seed: int = 0
) -> list[VoxelLogistic]:
    """The probe of the voxels of labelled images at each C of `grid`; `classes` counts the background.

    C is of the mean loss over voxels times the number of images, so that it does not depend on the resolution.
    Features are standardised by these images alone. Raises `InputError` without an image.
    """
    if not images:
        raise InputError("a dense probe needs labelled training images, but there is none")
    rng = np.random.default_rng(seed)
    parts = [sample(field, max(1, voxels // len(images)), rng) for field in images]
    x, y, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    scaling = choice.scaling(x, weight)
    x, weight = scaling(x), weight * len(images) / weight.sum()
    return [_at(C, x, y, weight, scaling, classes) for C in grid]


def dice(probe: VoxelLogistic, field: Field, classes: int) -> list[float]:
    """Dice of each foreground class on the label's own grid; NaN where neither mask has it."""
    return segmentation.dice(probe.predict(field.x, field.label.shape), field.label, classes - 1)


def few_shot(
    read: Callable[[Sequence[str]], Iterable[Field]],
    draws: Mapping[str, Sequence[str]],
    val: Sequence[str],
    test: Sequence[str],
    classes: int,
    *,
    grid: Sequence[float] = GRID,
    voxels: int = VOXELS,
) -> dict[str, dict[str, list[float]]]:
    """For each draw of training ids, the Dice of each foreground class of each test image: {draw: {id: [..]}}.

    `read(ids)` makes the images in that order, one at a time, since a data set of them may not fit into memory. The C
    of each draw is the one with the best mean Dice on `val`; without it, the middle one.
    """
    wanted = sorted({name for ids in draws.values() for name in ids})
    held = {field.id: field for field in read(wanted)}
    fitted = {name: fit([held[i] for i in ids], classes, grid=grid, voxels=voxels) for name, ids in draws.items()}
    chosen = {name: probes[len(probes) // 2] for name, probes in fitted.items()}
    if val:
        table: dict[str, list[list[float]]] = {name: [] for name in draws}
        for field in read(val):
            for name, probes in fitted.items():
                table[name].append([_mean(dice(probe, field, classes)) for probe in probes])
        chosen = {name: fitted[name][_best(np.array(rows))] for name, rows in table.items()}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in draws}
    for field in read(test):
        for name, probe in chosen.items():
            found[name][field.id] = dice(probe, field, classes)
    return found


def patches(x_BC: Tensor, stride: Sequence[int], side: int = 8) -> Tensor:
    """(B,C*side^n,*G): the `side` pixels an axis around each cell of a grid of `stride`: what one convolution sees."""
    n = x_BC.ndim - 2
    before = [(side - step) // 2 for step in stride]
    around = [pad for low, step in zip(before[::-1], stride[::-1], strict=True) for pad in (low, side - step - low)]
    found = functional.pad(x_BC, around, mode="replicate")
    for axis, step in enumerate(stride):
        found = found.unfold(2 + axis, side, step)
    axes = [0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n)]
    return found.permute(axes).flatten(1, 1 + n)


def _at(C: float, x: np.ndarray, y: np.ndarray, weight: np.ndarray, scaling: Scaling, classes: int) -> VoxelLogistic:
    present = np.unique(y)
    w, b = np.zeros((x.shape[1], classes)), np.full(classes, -np.inf)
    if len(present) == 1:
        b[present] = 0
        return VoxelLogistic(scaling, w, b, C)
    model = LogisticRegression(C=C, solver="newton-cholesky", max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y, sample_weight=weight)
    if len(present) == 2:
        w[:, present[1]], b[present[0]], b[present[1]] = model.coef_[0], 0, model.intercept_[0]
    else:
        w[:, present], b[present] = model.coef_.T, model.intercept_
    return VoxelLogistic(scaling, w, b, C)


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def _best(rows: np.ndarray) -> int:
    scores = [_mean(column) for column in rows.T]
    return int(np.nanargmax(scores)) if not np.isnan(scores).all() else len(scores) // 2
