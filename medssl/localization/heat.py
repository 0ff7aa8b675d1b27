"""Grad-CAM: where in an image the evidence for a class is, from a classifier trained without locations.

Selvaraju et al. 2017, eq. 1 and 2: the maps of a level, weighted by the mean gradient of the class logit, summed, and
clipped at 0. With global average pooling and one linear layer this is CAM (Zhou et al. 2016) divided by the number of
cells. Larger values mean more evidence; the map is not inverted by any normalisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CELLS = 14  # per side: a level with fewer cells is too coarse for boxes
DIGITS = 4  # digits of a stored map, whose highest value is 1


class Heat(NamedTuple):
    """For one image: logits (K,), and the non-negative map of each class (K,*cells)."""

    logits: Tensor
    maps: Tensor

    def cpu(self) -> Heat:
        """The same on the CPU."""
        return Heat(self.logits.cpu(), self.maps.cpu())


def level_of(features: Sequence[Tensor], asked: int | None) -> int:
    """The level to use: the one asked for, else the deepest with at least `CELLS` cells per side, else the finest."""
    if asked is not None:
        if not -len(features) <= asked < len(features):
            raise InputError(f"task.level={asked}, but the encoder has levels 0 to {len(features) - 1}")
        return asked % len(features)
    return next((n for n in reversed(range(len(features))) if min(features[n].shape[2:]) >= CELLS), 0)


def grad_cam(encoder: Any, head: Any, x_BC: Tensor, level: int | None = None) -> list[Heat]:
    """The logits and maps of every class for each image of a batch (B,C,*S).

    Raises `InputError` if the head does not depend on that level.
    """
    with torch.enable_grad(), torch.inference_mode(False):
        features = encoder(x_BC.clone().requires_grad_())
        chosen = features[level_of(features, level)]
        logits_BK = head(features)
        maps = []
        for k in range(logits_BK.shape[1]):
            (slope,) = torch.autograd.grad(logits_BK[:, k].sum(), chosen, retain_graph=True, allow_unused=True)
            if slope is None:
                raise InputError("the head does not use that level of the encoder: choose another task.level")
            weight = slope.flatten(2).mean(2)
            maps.append(torch.einsum("bc,bc...->b...", weight, chosen).relu().detach().float())
    heat_BK = torch.stack(maps, 1)
    return [Heat(one.detach().float(), heat) for one, heat in zip(logits_BK, heat_BK, strict=True)]


def stored(map_: Tensor) -> dict[str, Any]:
    """A map (*cells) as stored in rows of results.json, divided by its highest value."""
    peak = float(map_.max())
    values = (map_ / peak if peak > 0 else map_).flatten().tolist()
    return {"shape": list(map_.shape), "values": [round(value, DIGITS) for value in values]}


def restored(entry: Mapping[str, Any], shape: Sequence[int]) -> np.ndarray:
    """A stored map at the size of its image (*S), linear between cell centres, with highest value 1 (or 0).

    It is divided by its peak after resizing, as resizing lowers the peak.
    """
    cells = torch.tensor(entry["values"], dtype=torch.float32).reshape(1, 1, *entry["shape"])
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    heat = functional.interpolate(cells, tuple(shape), mode=mode, align_corners=False)[0, 0].numpy()
    return heat / heat.max() if heat.max() > 0 else heat


def on_border(heat: np.ndarray) -> bool:
    """Whether the hottest voxel is on the border of the image, where burned-in marks and padding are."""
    peak = np.unravel_index(int(heat.argmax()), heat.shape)
    return any(at in (0, side - 1) for at, side in zip(peak, heat.shape, strict=True))
