"""Lesions as peaks: the map that a heatmap network learns, its loss, and candidates from what it says.

Zhou et al. 2019 (CenterNet, "Objects as points"), section 3: a Gaussian round each centre, a focal loss that forgives
cells near one (eq. 1; alpha 2, beta 4), sizes by L1 at the centres, peaks that are the highest of their neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medssl.metrics.lesions import Candidate, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

ALPHA, BETA = 2, 4
SIZE_WEIGHT = 0.1
LOWEST = 0.01  # of a peak that is a candidate: the prior of every cell


class Aim(NamedTuple):
    """What a sample is to give: a map of each class (K,*cells) in [0, 1], log sides and where they count."""

    heat: np.ndarray  # (K,*cells) float32, 1 at centres
    sides: np.ndarray  # (n,*cells) float32
    centres: np.ndarray  # (*cells) bool
    known: np.ndarray  # (*cells) bool: false where a lesion is to be ignored


def aim(code: np.ndarray, classes: int, cells: Sequence[int]) -> Aim:
    """The aim of a patch (*S) of codes: 0, class + (K+1) * number of a lesion, or below 0: nothing is learned.

    A lesion that the patch cuts has its centre in the middle of the part that is seen.
    """
    stride = np.array([s / c for s, c in zip(code.shape, cells, strict=True)])
    axes = np.ix_(*[(np.arange(c) + 0.5) * s - 0.5 for c, s in zip(cells, stride, strict=True)])
    heat, sides = np.zeros((classes, *cells), np.float32), np.zeros((code.ndim, *cells), np.float32)
    centres = np.zeros(tuple(cells), bool)
    for number, box in enumerate(ndimage.find_objects(np.maximum(code, 0)), 1):
        if box is None:
            continue
        low, high = np.array([part.start for part in box]), np.array([part.stop for part in box])
        middle, side = (low + high - 1) / 2, high - low
        sigma = np.maximum(1, side / 6)
        distance = sum(((a - m) / s) ** 2 for a, m, s in zip(axes, middle, sigma, strict=True))
        cell = tuple(np.clip(((middle + 0.5) / stride).astype(int), 0, np.array(cells) - 1))
        own = heat[(number % (classes + 1)) - 1]
        np.maximum(own, np.exp(-np.asarray(distance) / 2), out=own, casting="unsafe")
        own[cell], centres[cell] = 1, True
        sides[(slice(None), *cell)] = np.log(side)
    known = np.ones(tuple(cells), bool)
    known[tuple(((np.argwhere(code < 0) + 0.5) / stride).astype(int).T)] = False
    return Aim(heat, sides, centres, known)


def losses(output: Tensor, code: Tensor, classes: int) -> dict[str, Tensor]:
    """The focal loss of centres and the L1 loss of log sides, of an output (B,K+n,*cells) and codes (B,*S)."""
    aims = [aim(one.cpu().numpy(), classes, output.shape[2:]) for one in code]
    heat, sides, centres, known = (
        torch.from_numpy(np.stack(part)).to(output.device) for part in zip(*aims, strict=True)
    )
    logits, told = output[:, :classes].float(), output[:, classes:].float()
    count = (heat == 1).sum().clamp(min=1)
    p, quiet, loud = logits.sigmoid(), functional.logsigmoid(-logits), functional.logsigmoid(logits)
    each = torch.where(heat == 1, (1 - p) ** ALPHA * loud, (1 - heat) ** BETA * p**ALPHA * quiet)
    focal = -(each * known[:, None]).sum() / count
    size = ((told - sides).abs() * centres[:, None]).sum() / count
    return {"focal": focal, "size": SIZE_WEIGHT * size}


def candidates(
    chances: np.ndarray, sides: np.ndarray, names: Sequence[str], shape: Sequence[int], stride: int, most: int
) -> tuple[Candidate, ...]:
    """The best peaks of each class of chances (K,*S), with boxes of the sides (n,*S) in voxels, cut to `shape`.

    Both hold one value for each cell of `stride` voxels a side, repeated over its voxels.
    """
    cells = [np.minimum(np.arange(0, side, stride) + stride // 2, side - 1) for side in shape]
    at: Any = (slice(None), *np.ix_(*cells))
    chances, sides = chances[at], sides[at]
    found = []
    for name, chance in zip(names, chances, strict=True):
        peaks = (chance == ndimage.maximum_filter(chance, 3)) & (chance > LOWEST)
        best = np.argwhere(peaks)[np.argsort(-chance[peaks], kind="stable")[:most]]
        for cell in best:
            middle = np.minimum((cell + 0.5) * stride, np.array(shape) - 0.5)
            half = np.maximum(sides[(slice(None), *cell)], 1) / 2
            start, stop = np.maximum(middle - half, 0), np.minimum(middle + half, shape)
            region = Region.of_box(start.tolist(), stop.tolist(), (middle - 0.5).tolist())
            found.append(Candidate(name, region, float(chance[tuple(cell)])))
    return tuple(found)
