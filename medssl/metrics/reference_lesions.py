"""Reference lesions from the forms that datasets use: instance masks, class masks, boxes, points with a diameter."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from medssl.metrics.lesions import Lesion, Region

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

UNKNOWN_DIAMETER_MM = 10.0  # a negative diameter in LUNA16's annotations


def components(mask: np.ndarray, connectivity: int | None = None) -> list[Region]:
    """Connected components of a mask (*S), in C order of their first voxel.

    `connectivity` is the number of axes along which neighbours may differ, as in scikit-image; by default all: 8
    neighbours in 2D and 26 in 3D, as in BraTS, nnDetection, PI-CAI and CAMELYON16.
    """
    return _regions(_numbered(mask, connectivity))


def largest(mask: np.ndarray) -> np.ndarray:
    """A class mask (*S) with the largest component of each of its values alone, all else 0."""
    kept = np.zeros_like(mask)
    for value in (value for value in np.unique(mask) if value != 0):
        numbered = _numbered(mask == value)
        sizes = np.bincount(numbered.ravel())
        kept[numbered == 1 + sizes[1:].argmax()] = value
    return kept


def from_classes(mask: np.ndarray, names: Sequence[str], connectivity: int | None = None) -> tuple[Lesion, ...]:
    """Each component of each of the values 1..K of a class mask (*S), with `names` (K,)."""
    return tuple(
        Lesion(name, region)
        for value, name in enumerate(names, 1)
        for region in components(mask == value, connectivity)
    )


def from_instances(mask: np.ndarray, name: str | Mapping[int, str], ignore: Collection[int] = ()) -> tuple[Lesion, ...]:
    """Each value above 0 of an instance mask (*S), whether connected or not.

    `name` is the class of all, or of each value (nnDetection's map); `ignore` lists values that do not count.
    """
    values = [int(value) for value in np.unique(mask) if value > 0]
    regions = _regions(np.searchsorted([0, *values], np.where(mask > 0, mask, 0)))
    return tuple(
        Lesion(name if isinstance(name, str) else name[value], region, ignore=value in ignore)
        for value, region in zip(values, regions, strict=True)
    )


def from_point(
    label: str, centre: Sequence[float], diameter_mm: float, spacing: Sequence[float], ignore: bool = False
) -> Lesion:
    """A ball with a diameter in mm around an index; a negative diameter means unknown and counts as 10 mm (LUNA16)."""
    diameter = diameter_mm if diameter_mm > 0 else UNKNOWN_DIAMETER_MM
    reach = [diameter / 2 / step for step in spacing]
    start = [c + 0.5 - r for c, r in zip(centre, reach, strict=True)]
    stop = [c + 0.5 + r for c, r in zip(centre, reach, strict=True)]
    return Lesion(label, Region.of_box(start, stop, centre), diameter, ignore)


def too_small(lesions: Sequence[Lesion], least_mm3: float, spacing: Sequence[float]) -> tuple[Lesion, ...]:
    """The lesions, with those below `least_mm3` (mm2 in 2D) marked as ignored."""
    voxel = math.prod(spacing)
    return tuple(replace(one, ignore=one.ignore or one.region.size * voxel < least_mm3) for one in lesions)


def _numbered(mask: np.ndarray, connectivity: int | None = None) -> np.ndarray:
    neighbours = ndimage.generate_binary_structure(mask.ndim, connectivity or mask.ndim)
    numbered: np.ndarray = ndimage.label(mask, neighbours)[0]
    return numbered


def _regions(numbered: np.ndarray) -> list[Region]:
    found = ndimage.find_objects(numbered)
    return [
        Region.of_mask(numbered[box] == number, [part.start for part in box])
        for number, box in enumerate(found, 1)
        if box is not None
    ]
