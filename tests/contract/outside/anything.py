"""A task as a user would add it: one file. All labelled structures are one class."""

from __future__ import annotations

import numpy as np

from medssl.tasks.segment import Segment, labelled  # noqa: F401  (a case with a label can be trained on)


class Anything(Segment):
    """Whatever is labelled, against the rest."""

    def target(self, names, label, case):
        return (label[0] > 0).astype(np.int64)


def build(*, spatial_dims: int, classes: list[str] | None = None, smooth: float = 1.0) -> Anything:
    """Segment whatever is labelled."""
    return Anything(
        spatial_dims=spatial_dims, classes=["anything"], pooled="batch", smooth=smooth, overlap=0.5, tolerance=None,
        floor=False,
    )  # fmt: skip


def names(given, cases, read):
    """One class."""
    return ["anything"]
