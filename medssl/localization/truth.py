"""The lesions of a case, and the class map on which a network is trained.

Lesions come from a label volume (connected components of its classes, or numbered instances), or from boxes and
points with a diameter. For the latter a network learns the inscribed ellipsoid, as the maintainers of nnDetection
advise without masks; scores use the box itself, and never compare masks with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from medssl.metrics import reference_lesions
from medssl.metrics.lesions import Lesion, Region
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medssl.data.cache import Case
    from medssl.types import Box

Source = Literal["auto", "components", "instances", "boxes"]
UNKNOWN = -1  # in a class map: neither lesion nor background
LESION = "lesion"  # the class of lesions without a name


class Truth(NamedTuple):
    """The class map of a case (1,*S), int64 (0, a class number, or `UNKNOWN`), and its lesions."""

    map: np.ndarray
    lesions: tuple[Lesion, ...]


def labelled(case: Case, source: Source) -> bool:
    """Whether a case was searched for lesions; else it is unknown, not negative."""
    masked = case.has_label and source != "boxes"
    return masked or (source in ("auto", "boxes") and (bool(case.boxes) or bool(case.looked)))


def names(
    given: list[str] | int | None,
    cases: Sequence[Case],
    read: Callable[[str], Any],
    source: Source,
    of_masks: Callable[..., list[str]],
) -> list[str]:
    """The classes as given, or those of the training cases: of label volumes by `of_masks`, else of boxes.

    Raises `InputError` where there is neither.
    """
    masked = [case for case in cases if case.has_label and source != "boxes"]
    if given is not None:
        return of_masks(given, cases, read)
    if source == "instances":
        return [LESION]
    if masked:
        return of_masks(None, masked, read)
    if found := sorted({box.label or LESION for case in cases for box in case.boxes}):
        return found
    raise InputError(
        "no training case has a lesion, neither in a label volume nor as a box: add training cases with lesions"
    )


def of_case(
    case: Case, label: np.ndarray | None, names: Sequence[str], source: Source, least_mm3: float = 0.0
) -> Truth:
    """The truth of a case, from its label volume (1,*S) if `source` asks for one, else from its boxes.

    Lesions below `least_mm3` (mm2 in 2D) are kept, but ignored by scores. Raises `InputError` for a case that nobody
    searched, and for classes that are not in `names`.
    """
    if not labelled(case, source):
        raise InputError(
            f"case {case.id} has neither a label volume nor boxes that task.truth={source} could use, and is not known "
            "to be without lesions: remove it from the split"
        )
    if label is None or source == "boxes":
        return _of_boxes(case, names)
    if source == "instances":
        map_ = (label > 0).astype(np.int64)
        lesions = reference_lesions.from_instances(label[0], names[0])
    else:
        _check_values(label, names, case.id)
        map_ = label.astype(np.int64)
        lesions = reference_lesions.from_classes(label[0], names)
    return Truth(map_, reference_lesions.too_small(lesions, least_mm3, case.spacing))


def _check_values(label: np.ndarray, names: Sequence[str], case: str) -> None:
    low, high = int(label.min()), int(label.max())
    if low < 0 or high > len(names):
        raise InputError(
            f"the label of case {case} has values from {low} to {high}, but the task has 0..{len(names)} "
            f"({', '.join(names)}): name all classes in task.classes, set task.truth=instances where each lesion has a "
            f"number, or `medssl prepare` with --label-map {high}=1"
        )


def _of_boxes(case: Case, names: Sequence[str]) -> Truth:
    map_ = np.zeros(case.shape, np.int64)
    nearest = np.full(case.shape, np.inf)
    found = []
    for box in case.boxes:
        name = box.label or LESION
        if name not in names:
            raise InputError(
                f"case {case.id} has a box of class {name}, not one of {', '.join(names)} (those of the training "
                "cases): list all classes in task.classes, or remove the case from the split"
            )
        if any(a >= b for a, b in zip(box.start, box.stop, strict=True)):
            continue  # outside the prepared image
        window, inside = ellipsoid(box.start, box.stop, case.shape)
        away = _distance(box, window, case.spacing)
        mine = inside & (away < nearest[window])
        map_[window][mine] = UNKNOWN if box.ignore else 1 + names.index(name)
        nearest[window][mine] = away[mine]
        found.append(Lesion(name, Region.of_box(box.start, box.stop), box.diameter_mm, box.ignore))
    return Truth(map_[None], tuple(found))


def ellipsoid(
    start: Sequence[float], stop: Sequence[float], shape: Sequence[int]
) -> tuple[tuple[slice, ...], np.ndarray]:
    """The voxels of an image of `shape` with centres in the ellipsoid inscribed in a box, as a window and a mask.

    For a box without any voxel centre, it is the voxel in which its middle lies.
    """
    low = [min(max(math.floor(a), 0), n - 1) for a, n in zip(start, shape, strict=True)]
    high = [min(max(math.ceil(b), a + 1), n) for a, b, n in zip(low, stop, shape, strict=True)]
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    middle, half = (np.add(stop, start) / 2, np.subtract(stop, start) / 2)
    axes = [(np.arange(a, b) + 0.5 - m) / h for a, b, m, h in zip(low, high, middle, half, strict=True)]
    inside = sum(np.ix_(*[axis**2 for axis in axes]), start=np.zeros(())) <= 1 + 1e-9
    if not inside.any():
        voxel = tuple(min(max(math.floor(m) - a, 0), b - a - 1) for m, a, b in zip(middle, low, high, strict=True))
        inside[voxel] = True
    return window, inside


def _distance(box: Box, window: tuple[slice, ...], spacing: Sequence[float]) -> np.ndarray:
    """Squared distance (mm2) from the middle of a box to the voxel centres of a window."""
    middle = np.add(box.stop, box.start) / 2
    axes = [((np.arange(w.start, w.stop) + 0.5 - m) * s) ** 2 for w, m, s in zip(window, middle, spacing, strict=True)]
    return np.asarray(sum(np.ix_(*axes), start=np.zeros(())))


def places(lesions: Sequence[Lesion], shape: Sequence[int]) -> list[np.ndarray]:
    """The voxels (N,n) of each lesion that is not ignored, so that patches can be drawn by lesion."""
    found = []
    for lesion in lesions:
        region = lesion.region
        if lesion.ignore or region.start is None or region.stop is None:
            continue
        if region.mask is not None:
            found.append(np.argwhere(region.mask) + np.asarray(region.start, int))
        else:
            window, inside = ellipsoid(region.start, region.stop, shape)
            found.append(np.argwhere(inside) + [part.start for part in window])
    return found
