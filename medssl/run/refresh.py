"""New crop boxes from the network as it is now: every training sample once, un-augmented, shared by the ranks."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from medssl import ranks
from medssl.crop.heat import heat_map
from medssl.engine.loader import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning_fabric import Fabric

    from medssl.crop.contrastive import ContrastiveCrop
    from medssl.data.cache import Cache
    from medssl.views import ViewMaker


class Wholes(Dataset[tuple[int, Tensor]]):
    """Samples as the heat map sees them: (index, whole volume (C,*size) in [0, 1])."""

    def __init__(self, cache: Cache, ids: Sequence[str], maker: ViewMaker, size: tuple[int, ...]) -> None:
        self.cache, self.ids, self.maker, self.size = cache, ids, maker, size

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        name = self.ids[index]
        whole = self.maker.whole(self.cache.image(name), self.cache.cases[name], self.size)
        return index, torch.from_numpy(whole)


def refresh(
    fabric: Fabric, encoder: nn.Module, policy: ContrastiveCrop, wholes: Wholes, *, batch: int, workers: int
) -> list[str]:
    """Give `policy` new boxes; returns what it warns of. No weight, statistic, mode or random stream is changed."""
    batches = load(wholes, _shares(len(wholes), batch), workers=workers)
    with evaluating(encoder), torch.no_grad(), fabric.autocast():
        like = next(encoder.parameters())
        maps = ((index, heat_map(encoder(x.to(like)), policy.level).cpu()) for index, x in batches)
        found = policy.boxes_of(maps, wholes.size, _foreground(wholes))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        policy.set_boxes(*(ranks.gather(fabric.to_device(part)) for part in found))
    return [str(warning.message) for warning in caught]


def _shares(samples: int, batch: int) -> list[list[int]]:
    """The batches of this rank, rank::world; every rank gets equally many, so the last ones repeat a sample."""
    world = ranks.world()
    mine = [min(i, samples - 1) for i in range(ranks.rank(), -(-samples // world) * world, world)]
    return [mine[i : i + batch] for i in range(0, len(mine), batch)]


def _foreground(wholes: Wholes) -> Tensor:
    """The box of the body in each sample, (samples, 2n) as shares of the array, that crop boxes stay inside."""
    rows = []
    for name in wholes.ids:
        case = wholes.cache.cases[name]
        start, size = case.foreground
        low = [s / n for s, n in zip(start, case.shape, strict=True)]
        rows.append(low + [(s + z) / n for s, z, n in zip(start, size, case.shape, strict=True)])
    return torch.tensor(rows, dtype=torch.float64)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within; after it each part is in the mode it was in."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
