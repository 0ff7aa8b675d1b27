"""The usual spacing of images: the median of each axis (`prepare --spacing median`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.data.read import reader
from medssl.data.read.volume import orient
from medssl.data.reject import Rejected
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.stack import Job

MOST = 100  # images to read, evenly chosen, as the manifest does not say how an image is oriented


def resolved(spacing: Sequence[float] | str | None, jobs: Sequence[Job]) -> Sequence[float] | str | None:
    """The spacing as given, with numbers in place of `median`."""
    return median(jobs) if isinstance(spacing, str) and spacing == "median" else spacing


def median(jobs: Sequence[Job]) -> tuple[float, ...]:
    """The median spacing (mm, axes toward S, A, R; 2D: Y, X) of at most 100 of the images.

    Images of the less frequent dimension are left out. Raises `InputError` if none can be read.
    """
    found = []
    for job in jobs[:: -(-len(jobs) // MOST)]:
        try:
            found.append(orient(reader.load(job.manifest, job.rows[0])).spacing)
        except (Rejected, OSError):
            continue
    if not found:
        raise InputError("--spacing median: none of the images can be read")
    lengths = [len(spacing) for spacing in found]
    usual = max(set(lengths), key=lengths.count)
    return tuple(
        float(mm) for mm in np.median([spacing for spacing in found if len(spacing) == usual], axis=0).round(4)
    )
