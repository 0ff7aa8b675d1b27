"""Warnings for a loss that falls while nothing is learned: collapsed embeddings, or no negatives left."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Unit vectors of mean cosine c have a deviation of sqrt(1 - c) / sqrt(D): 0.03 of the healthy one is c = 0.999.
LEAST_SPREAD = 0.03
LEAST_RANK = 1.1  # between 1 (collapsed) and min(batch, D)
MOST_MASKED = 0.9  # share of the negatives


def patience(steps: int) -> int:
    """Consecutive suspicious steps before a warning: a tenth of the run, at least 20, at most half of a short run.

    At least 3, because a fresh network may start so; a run of one or two steps shows nothing.
    """
    return max(3, min(max(20, steps // 10), steps // 2))


class Watch(ABC):
    """Warns once each time the metrics have looked suspicious for `patience` steps in a row.

    `strikes` counts these steps; it is part of a checkpoint, so that a resumed run warns at the same step.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.strikes = 0

    def see(self, record: Mapping[str, float]) -> str | None:
        """Take the metrics of one step; returns a warning or None."""
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
            f"{signs[0]} of the negatives are masked: of the query's own patient or (method.prune) too similar. "
            "With (almost) no negatives the loss falls to 0 and nothing is learned. Use more patients, set "
            "method.exclude=sample so that other images of a patient count as negatives, or use a method without "
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
            "collapsed and the encoder learns nothing. Lower optimizers.main.lr, raise train.batch, or use harder "
            "views (views.warp, views.intensity)"
        )

    def _signs(self, record: Mapping[str, float]) -> list[str]:
        spread, rank = record.get("metric.embedding_std"), record.get("metric.effective_rank")
        signs = []
        if self.dim is not None and spread is not None and spread * math.sqrt(self.dim) < LEAST_SPREAD:
            signs.append(f"standard deviation {spread:.1e}, healthy {1 / math.sqrt(self.dim):.1e}")
        if rank is not None and rank < LEAST_RANK:
            signs.append(f"effective rank {rank:.2f}, at best the batch size or {self.dim or 'the dimension'}")
        return signs
