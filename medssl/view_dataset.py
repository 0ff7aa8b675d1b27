"""The data set that pretraining reads: the views of each training sample, and how they are stacked to batches.

B batch, V views. `medssl.views` explains what a view is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from medssl.data.cache import Reading
from medssl.transforms.deferred import DeferredView, DeferredViews
from medssl.types import View, Views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.cache import Cache
    from medssl.types import CropPolicy
    from medssl.views import Batch, ViewMaker


class Sample(NamedTuple):
    """One item of the data set."""

    views: tuple[View, ...]
    number: int
    patient: int
    drafts: tuple[DeferredView, ...] = ()  # instead of views


HELD, SMALL = 2**26, 2**18  # voxels of the images that a process keeps in memory, and of the largest of them


class ViewsDataset(Dataset[Sample]):
    """The views of the cases `ids` of a cache, indexed by (epoch, index).

    All random choices follow from (seed, epoch, index). If `drafted` is set, workers only read and draw, and
    `ViewMaker.finish` makes the views on the training device. Small images are read once and kept in memory: opening
    the array of a 64 x 64 image takes as long as making a view of it.

    Args:
        cache: the prepared images.
        ids: the names of the training cases.
        maker: makes the views.
        policy: decides where they are cropped.
        seed: of all random choices.
    """

    drafted = False

    def __init__(self, cache: Cache, ids: Sequence[str], maker: ViewMaker, policy: CropPolicy, seed: int) -> None:
        self.cache, self.ids, self.maker, self.policy, self.seed = cache, list(ids), maker, policy, seed
        self._held: dict[int, np.ndarray] = {}
        self._room = HELD
        number: dict[str, int] = {}
        self.patients = [number.setdefault(cache.cases[name].patient, len(number)) for name in self.ids]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The views of sample `index` in `epoch`. Raises InputError, naming the case, if its array cannot be read."""
        epoch, index = key
        name, rng = self.ids[index], np.random.default_rng([self.seed, epoch, index])
        given = self._source(index), self.cache.cases[name], index, self.policy, rng
        views = () if self.drafted else self.maker(*given)
        drafts = self.maker.drafts(*given) if self.drafted else ()
        return Sample(views, index, self.patients[index], drafts)

    def _source(self, index: int) -> Any:
        """The image (C,*S) of a sample in stored units, something that slices to numpy."""
        if index in self._held:
            return self._held[index]
        name = self.ids[index]
        source = Reading(self.cache.image(name), f"case {name} of {self.cache.path}")
        if (voxels := math.prod(source.shape)) > min(SMALL, self._room):
            return source
        self._room -= voxels
        return self._held.setdefault(index, source[:])


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples to a batch; target and mask belong to view 0."""
    number = torch.tensor([sample.number for sample in samples])
    patient = torch.tensor([sample.patient for sample in samples])
    if samples[0].drafts:
        drafts = tuple(list(of_view) for of_view in zip(*(sample.drafts for sample in samples), strict=True))
        return DeferredViews(drafts, torch.stack([draft.mask for draft in drafts[0]]), number, patient)
    x = tuple(_stack([v.x for v in views]) for views in zip(*(sample.views for sample in samples), strict=True))
    first = [sample.views[0] for sample in samples]
    corrupted = [view.corrupted for view in first if view.corrupted is not None]
    target, mask = _stack([view.target for view in first]), _stack([view.mask for view in first])
    return Views(x, target, mask, number, patient, _stack(corrupted) if corrupted else None)


def _stack(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
