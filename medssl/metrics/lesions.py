"""The lesions of a test image and the scored candidates found in it, from which every score follows.

Coordinates are voxels in index order, (row, column) or (z, y, x). Boxes are half-open, `start <= i < stop`, so that
[0, 4) and [4, 8) touch but do not overlap. A centre is an index, and integers are the centres of voxels: the box
[0, 4) has its centre at 1.5. Distances in mm use the spacing of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.metrics import run_lengths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Place = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Region:
    """A location: a box, perhaps with a mask, or only a point; made by `of_mask`, `of_box` or `of_point`."""

    centre: Place
    start: Place | None = None
    stop: Place | None = None
    mask: np.ndarray | None = None  # bool, of the shape of the box, whose corners are then integers

    @classmethod
    def of_mask(cls, mask: np.ndarray, offset: Sequence[int] | None = None) -> Region:
        """The true voxels of a mask (*S) that starts at voxel `offset` of the image; its centre is that of mass."""
        inside = np.argwhere(mask)
        if not len(inside):
            raise ValueError("a mask without true voxels is not a region")
        first, last = inside.min(0), inside.max(0) + 1
        begin = np.zeros(mask.ndim, int) if offset is None else np.asarray(offset)
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        places = (inside.mean(0) + begin, begin + first, begin + last)
        centre, start, stop = (tuple(place.tolist()) for place in places)
        return cls(centre, start, stop, np.ascontiguousarray(mask[box], dtype=bool))

    @classmethod
    def of_box(cls, start: Sequence[float], stop: Sequence[float], centre: Sequence[float] | None = None) -> Region:
        """A half-open box; its centre is the middle unless given."""
        if len(start) != len(stop) or any(a >= b for a, b in zip(start, stop, strict=True)):
            raise ValueError(
                f"the start of a box must be below its stop on every axis, but it is {list(start)} to {list(stop)}"
            )
        middle = [(a + b - 1) / 2 for a, b in zip(start, stop, strict=True)] if centre is None else centre
        return cls(tuple(middle), tuple(start), tuple(stop))

    @classmethod
    def of_point(cls, centre: Sequence[float]) -> Region:
        """A point, which has no extent."""
        return cls(tuple(centre))

    @property
    def window(self) -> tuple[slice, ...]:
        """The voxels of the box, which `mask` is cut to. Raises `ValueError` for a point."""
        if self.start is None or self.stop is None:
            raise ValueError("a point has no box")
        return tuple(slice(int(a), int(b)) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> float:
        """Number of voxels of the mask, else of the box; 0 for a point."""
        if self.mask is not None:
            return float(self.mask.sum())
        return math.prod(b - a for a, b in zip(self.start, self.stop, strict=True)) if self.start and self.stop else 0.0

    def as_json(self) -> dict[str, Any]:
        """What `region_from_json` reads: centre, start, stop, and the mask as run lengths."""
        box = {} if self.start is None else {"start": list(self.start), "stop": list(self.stop or ())}
        mask = {} if self.mask is None else {"mask": run_lengths.encode(self.mask)}
        return {"centre": [round(place, 4) for place in self.centre]} | box | mask


@dataclass(frozen=True, eq=False)
class Lesion:
    """A lesion of the reference.

    Args:
        label: its class.
        region: where it is.
        diameter_mm: if known (for points of a nodule list); else the longest side of the box is used.
        ignore: counts neither as missed nor as a false positive if found (excluded findings, crowds, tiny lesions).
    """

    label: str
    region: Region
    diameter_mm: float | None = None
    ignore: bool = False


@dataclass(frozen=True, eq=False)
class Candidate:
    """A finding of the network: its class, location, and score in [0, 1]."""

    label: str
    region: Region
    score: float


@dataclass(frozen=True, eq=False)
class Findings:
    """The lesions and candidates of one image; an image that was searched and has no lesion is a negative.

    Leave out images that nobody searched for lesions: they are unknown, not negative.

    Example:
        >>> lesion = Lesion("mass", Region.of_box((2, 2), (6, 6)))
        >>> found = Candidate("mass", Region.of_box((2, 2), (10, 6)), score=0.9)
        >>> image = Findings((1.0, 1.0), (lesion,), (found,))
        >>> Findings.from_json(image.as_json()).candidates[0].region.stop
        (10, 6)
    """

    spacing: tuple[float, ...]  # mm, index order
    lesions: tuple[Lesion, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    shape: tuple[int, ...] | None = None  # voxels of the image

    def of_class(self, label: str) -> Findings:
        """The lesions and candidates of one class."""
        lesions = tuple(one for one in self.lesions if one.label == label)
        candidates = tuple(one for one in self.candidates if one.label == label)
        return Findings(self.spacing, lesions, candidates, self.shape)

    def above(self, threshold: float) -> Findings:
        """With only the candidates whose score is at least `threshold`."""
        kept = tuple(one for one in self.candidates if one.score >= threshold)
        return Findings(self.spacing, self.lesions, kept, self.shape)

    def as_json(self) -> dict[str, Any]:
        """As lists and numbers for the rows of results.json; see docs/metrics.md."""
        lesions = [
            {"class": one.label, **one.region.as_json(), "diameter_mm": one.diameter_mm, "ignore": one.ignore}
            for one in self.lesions
        ]
        candidates = [{"class": one.label, "score": one.score, **one.region.as_json()} for one in self.candidates]
        shape = {} if self.shape is None else {"shape": list(self.shape)}
        return {"spacing": list(self.spacing), **shape, "lesions": lesions, "candidates": candidates}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Findings:
        """What `as_json` wrote; other keys of the row are ignored."""
        lesions = [
            Lesion(one["class"], region_from_json(one), one.get("diameter_mm"), bool(one.get("ignore", False)))
            for one in row["lesions"]
        ]
        candidates = [Candidate(one["class"], region_from_json(one), one["score"]) for one in row["candidates"]]
        shape = None if row.get("shape") is None else tuple(row["shape"])
        return cls(tuple(row["spacing"]), tuple(lesions), tuple(candidates), shape)


def region_from_json(entry: Mapping[str, Any]) -> Region:
    """The region that `Region.as_json` wrote."""
    start, stop = entry.get("start"), entry.get("stop")
    if start is None or stop is None:
        return Region.of_point(entry["centre"])
    if entry.get("mask") is None:
        return Region.of_box(start, stop, entry.get("centre"))
    mask = run_lengths.decode(entry["mask"], [b - a for a, b in zip(start, stop, strict=True)])
    return Region.of_mask(mask, start)
