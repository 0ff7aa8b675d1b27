"""Alarms for a loss that falls while nothing is learned: embeddings become one, or no negatives are left."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of unit vectors with mean cosine c the spread is sqrt(1 - c) / sqrt(D): 0.03 of the healthy one is c = 0.999.
LEAST_SPREAD = 0.03
LEAST_RANK = 1.1  # of 1 collapsed to min(batch, D)
MOST_MASKED = 0.9  # share of the negatives


def patience(steps: int) -> int:
    """Steps in a row that must look ill: a tenth of the run and 20 at least, but never more than half of a short run.

    Three at least, since a fresh network may start so; a run of one or two steps says nothing.
    """
    return max(3, min(max(20, steps // 10), steps // 2))


class Watch(ABC):
    """Speaks once for each time that `patience` values of metrics in a row have looked ill.

    `ill` is their number so far; it belongs into a checkpoint, so that a resumed run speaks at the same step.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.strikes = 0

    def see(self, record: Mapping[str, float]) -> str | None:
        """Take the metrics of one step; a warning in plain language, or nothing."""
        signs = self._signs(record)
        self.strikes = self.strikes + 1 if signs else 0
        return self._warning(signs) if self.strikes == self.patience else None

    @abstractmethod
    def _signs(self, record: Mapping[str, float]) -> list[str]: ...

    @abstractmethod
    def _warning(self, signs: list[str]) -> str: ...


class NegativesWatch(Watch):
    """Watches `metric.masked`, the share of a method's negatives that are masked."""

    def _signs(self, record: Mapping[str, float]) -> list[str]:
        masked = record.get("metric.masked", 0.0)
        return [f"{masked:.0%}"] if masked > MOST_MASKED else []

    def _warning(self, signs: list[str]) -> str:
        return (
            f"{signs[0]} of the negatives are masked, being of the query's own patient or, with method.prune, too like "
            "it: with (almost) nothing to tell apart the loss falls to 0 and teaches nothing. Take more patients, set "
            "method.exclude=sample so that other images of a patient count as negatives, or take a method without "
            "negatives (method.kind=simsiam or barlow_twins)"
        )


class CollapseWatch(Watch):
    """Watches `metric.embedding_std` and `metric.effective_rank`; `dim` is the size of the embedding, if known."""

    def __init__(self, dim: int | None, patience: int = 20) -> None:
        super().__init__(patience)
        self.dim = dim

    def _warning(self, signs: list[str]) -> str:
        return (
            f"the embeddings of different images have become nearly the same ({', '.join(signs)}): the method has "
            "collapsed and teaches the encoder nothing. Lower optimizers.main.lr, raise train.batch, or take harder "
            "views (views.warp, views.intensity)"
        )

    def _signs(self, record: Mapping[str, float]) -> list[str]:
        spread, rank = record.get("metric.embedding_std"), record.get("metric.effective_rank")
        signs = []
        if self.dim is not None and spread is not None and spread * math.sqrt(self.dim) < LEAST_SPREAD:
            signs.append(f"spread {spread:.1e} where {1 / math.sqrt(self.dim):.1e} is healthy")
        if rank is not None and rank < LEAST_RANK:
            signs.append(f"effective rank {rank:.2f} of an ideal {self.dim or 'number of dimensions'} or the batch")
        return signs
