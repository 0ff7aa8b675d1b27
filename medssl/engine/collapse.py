"""The alarm for collapse: when embeddings of different images become one, a loss may fall while nothing is learned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of unit vectors with mean cosine c the spread is sqrt(1 - c) / sqrt(D): 0.03 of the healthy one is c = 0.999.
LEAST_SPREAD = 0.03
LEAST_RANK = 1.1  # of 1 collapsed to min(batch, D)


class CollapseWatch:
    """Watches `metric.embedding_std` and `metric.effective_rank`; speaks once for each time that the run falls ill.

    `dim` is the size of the embedding, if known; `patience` how many records in a row must look collapsed, since a
    fresh network may start so.
    """

    def __init__(self, dim: int | None, patience: int = 20) -> None:
        self.dim, self.patience = dim, patience
        self._ill = 0

    def see(self, record: Mapping[str, float]) -> str | None:
        """Take one record of metrics; a warning in plain language, or nothing."""
        signs = self._signs(record)
        self._ill = self._ill + 1 if signs else 0
        if self._ill != self.patience:
            return None
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
