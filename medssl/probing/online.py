"""Probe an encoder while it pretrains, as a curve over steps. The loss never sees a label.

It does not change the run (evaluation mode, no gradient, no random numbers), which is bit for bit the same without
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.data.cache import Cache
from medssl.data.manifest import UNCERTAIN
from medssl.data.split import by_patient
from medssl.metrics import classification, segmentation
from medssl.metrics.statistics import known_mean
from medssl.models.mode import evaluating
from medssl.probing import dense, features, linear, voxels
from medssl.times import steps_of
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from medssl.data.cache import Case
    from medssl.times import Time

    Sets = dict[str, list[str]]  # train and val -> ids

STRENGTH = 1e-2  # of the regression, fixed: the middle of the values that validation chose elsewhere
MEMORY = 2**29  # bytes of resized images that are kept in memory rather than read again


class OnlineProbe(NamedTuple):
    """What is probed, and at which steps."""

    cache: Cache
    size: tuple[int, ...]
    sets: Sets
    names: tuple[str, ...]  # classes; () for a dense probe of the labels
    images: list[Tensor] | None  # of train and val, in order; None: read again each time
    every: int

    def due(self, step: int, steps: int) -> bool:
        """Whether to probe after `step` of `steps`."""
        return step % self.every == 0 or step == steps

    def scores(self, encoder: nn.Module, device: Any) -> dict[str, float]:
        """The scores of a linear probe of the current encoder on the val cases, by name."""
        found = self._classes(encoder, device) if self.names else self._labels(encoder, device)
        return {f"metric.probe_{name}": value for name, value in found.items()}

    def describe(self) -> str:
        """What is probed, in a sentence."""
        what = f"classes {', '.join(self.names)}" if self.names else "labels of voxels"
        train, val = (len(self.sets[part]) for part in ("train", "val"))
        return f"an online probe of {what} is trained on {train} images and scored on {val}; the loss sees no label"

    def _ids(self) -> list[str]:
        return [*self.sets["train"], *self.sets["val"]]

    def _batches(self) -> Iterable[Tensor]:
        images = self.images if self.images is not None else features.images(self.cache, self._ids(), self.size)
        return features.batched(images)

    def _classes(self, encoder: nn.Module, device: Any) -> dict[str, float]:
        x = features.extract({"": encoder}, self._batches(), device)[""].select("all_levels")
        y = np.array([[name in self.cache.cases[i].classes for name in self.names] for i in self._ids()], float)
        at, several = len(self.sets["train"]), bool((y.sum(1) != 1).any())
        probe = linear.fit(x[:at], y[:at], multilabel=several, grid=[STRENGTH])
        probability, truth = probe.predict(x[at:]), y[at:]
        aucs = classification.auc(probability, truth)
        known = aucs[-1:] if len(self.names) == 2 and not several else [auc for auc in aucs if not math.isnan(auc)]
        scores = {"auc": float(np.mean(known)) if known else float("nan")}
        if not several:
            scores["balanced_accuracy"] = classification.balanced_accuracy(probability.argmax(1), truth.argmax(1))
        return scores

    def _labels(self, encoder: nn.Module, device: Any) -> dict[str, float]:
        def label(name: str) -> np.ndarray:
            return np.asarray(self.cache.label(name)[:])[0].astype(np.int64)

        count = 1 + max(int(label(name).max()) for name in self.sets["train"])
        total: voxels.Moments | None = None
        with evaluating(encoder):
            read = partial(_fields, self, encoder, device, label)
            for field in read(self.sets["train"]):
                found = voxels.moments(field.x, dense.label_on_grid(field.label, field.x.shape[1:]), count)
                total = found if total is None else total + found
            assert total is not None
            shrinkage, prior = voxels.DEFAULT
            [probe] = voxels.fit(total, shrinkage=[shrinkage], prior=[prior])
            scores = [
                known_mean(segmentation.dice(dense.mask(probe, field), field.label, count - 1))
                for field in read(self.sets["val"])
            ]
        return {"dice": known_mean(scores)}


def _fields(
    probe: OnlineProbe, encoder: nn.Module, device: Any, label: Any, ids: Sequence[str]
) -> Iterable[dense.Field]:
    kind = features.precision(encoder)
    return dense.fields(
        lambda x: dense.stacked(encoder(x.to(kind))), probe.cache, ids, probe.size, label, device=device
    )


def prepare(folder: str, every: Time, steps: int, sizes: Sequence[tuple[int, ...]], channels: int) -> OnlineProbe:
    """A probe with the labelled cases of the cache `folder`, with images resized to the largest of the views' `sizes`.

    It is trained on the split `train` and scored on `val`; if either has no labelled case, the labelled cases that
    are not in `test` are halved by patient. Raises `InputError` if the cache does not suit.
    """
    cache, size = Cache(folder), max(sizes, key=math.prod)
    dims, found = len(size), next(iter(cache.cases.values()))
    if len(found.shape) != dims or found.channels != channels:
        raise InputError(
            f"probe={folder} has {len(found.shape)}D images of {found.channels} channel(s), but the recipe makes "
            f"{dims}D views of {channels}: give a cache of the same kind"
        )
    labelled = [case for case in cache.cases.values() if case.split != "test"]
    of_classes = [case for case in labelled if case.classes]
    chosen = of_classes or [case for case in labelled if case.has_label]
    sets = _sets(chosen)
    given = {name for case in of_classes for name in case.classes if case.id in sets["train"]}
    names = tuple(sorted(name for name in given if not name.endswith(UNCERTAIN)))
    if not sets["train"] or not sets["val"] or (of_classes and len(names) < 2):
        raise InputError(
            f"probe={folder} has {len(chosen)} labelled cases of {len(names)} class(es) outside its test split: an "
            "online probe needs labels of several patients, with two classes or label volumes"
        )
    made = OnlineProbe(
        cache, size, sets, names if of_classes else (), None, max(1, steps_of(every, steps, "probe_every"))
    )
    nbytes = 4 * channels * math.prod(size) * len(chosen)
    held = list(features.images(cache, made._ids(), size)) if made.names and nbytes <= MEMORY else None
    return made._replace(images=held)


def _sets(cases: Sequence[Case]) -> Sets:
    sets = {part: sorted(case.id for case in cases if case.split == part) for part in ("train", "val")}
    if all(sets.values()):
        return sets
    parts = by_patient([case.patient for case in cases], (0.5, 0.5), 0) if cases else []
    return {part: sorted(c.id for c, of in zip(cases, parts, strict=True) if of == part) for part in ("train", "val")}
