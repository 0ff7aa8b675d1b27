"""New crop boxes from the current network: each training sample once, un-augmented, divided among the ranks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from medssl import ranks
from medssl.crop.heat import heat_map
from medssl.data import foreground, presets
from medssl.engine.loader import load
from medssl.models.mode import evaluating
from medssl.types import Maps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lightning_fabric import Fabric

    from medssl.crop.heat import Level
    from medssl.data.cache import Cache
    from medssl.types import CropPolicy
    from medssl.views import ViewMaker


class FullVolume(NamedTuple):
    """A sample as input of the heat map; in a batch each field has a leading axis B."""

    sample: int | Tensor  # index in the training set
    x: Tensor  # (C,*size) in [0, 1]: the whole volume, un-augmented
    body: Tensor  # (*size) bool: where the patient is


class FullVolumes(Dataset[FullVolume]):
    """The whole volumes of the cases `ids`, resized to `size`."""

    def __init__(self, cache: Cache, ids: Sequence[str], maker: ViewMaker, size: tuple[int, ...]) -> None:
        self.cache, self.ids, self.maker, self.size = cache, ids, maker, size

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> FullVolume:
        name = self.ids[index]
        case = self.cache.cases[name]
        x = self.maker.whole(self.cache.image(name), case, self.size)
        body = foreground.seen(x, presets.find(case.preset).crop, case.intensity)
        return FullVolume(index, torch.from_numpy(x), torch.from_numpy(body))


def refresh(
    fabric: Fabric, encoder: nn.Module, policy: CropPolicy, wholes: FullVolumes, *, batch: int, workers: int
) -> list[str]:
    """Give `policy` new boxes; returns its warnings. Weights, statistics, modes and random streams stay the same."""
    batches = load(wholes, _shares(len(wholes), batch), workers=workers)
    with evaluating(encoder), torch.no_grad(), fabric.autocast():
        found = policy.boxes_of(maps(encoder, policy.level, batches), wholes.size, body_boxes(wholes))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        policy.set_boxes(*(ranks.gather(fabric.to_device(part)) for part in found))
    return [str(warning.message) for warning in caught]


def maps(encoder: nn.Module, level: Level | None, batches: Iterable[FullVolume]) -> Iterator[Maps]:
    """The heat maps of batches of samples at a level (None: auto), with a mask of the cells that contain the body."""
    like = next(encoder.parameters())
    for sample, x, body in batches:
        heat = heat_map(encoder(x.to(like)), level).cpu()
        inside = [torch.from_numpy(foreground.cells(one, heat.shape[1:])) for one in body.numpy()]
        yield Maps(torch.as_tensor(sample), heat, torch.stack(inside))


def _shares(samples: int, batch: int) -> list[list[int]]:
    """The batches of this rank, rank::world; every rank gets equally many, so the last may repeat a sample."""
    world = ranks.world()
    mine = [min(i, samples - 1) for i in range(ranks.rank(), -(-samples // world) * world, world)]
    return [mine[i : i + batch] for i in range(0, len(mine), batch)]


def body_boxes(wholes: FullVolumes) -> Tensor:
    """The bounding box of the body in each sample, (samples, 2n) as shares of the array; crop boxes stay inside it."""
    rows = []
    for name in wholes.ids:
        case = wholes.cache.cases[name]
        start, size = case.foreground
        low = [s / n for s, n in zip(start, case.shape, strict=True)]
        rows.append(low + [(s + z) / n for s, z, n in zip(start, size, case.shape, strict=True)])
    return torch.tensor(rows, dtype=torch.float64)
