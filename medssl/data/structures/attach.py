"""Give scanned series the masks of DICOM objects that refer to them."""

from __future__ import annotations

from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from medssl.data.reject import Rejected
from medssl.data.scan import qc
from medssl.data.structures import reading
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medssl.data.read.dicom import Refused
    from medssl.data.scan.pairing import Image
    from medssl.data.structures.reading import Reference

SHOWN = 12


class Attached(NamedTuple):
    """Images with the masks that were found, what is refused in the end, and notices."""

    images: list[Image]
    refused: list[Refused]
    notices: list[str]


def attach(images: Sequence[Image], refused: Sequence[Refused], wanted: Mapping[str, int] | None = None) -> Attached:
    """Look for masks among the `refused` files and make them labels of their series.

    `wanted` gives the class number of structures whose names match a pattern (upper or lower case does not matter; the
    first pattern wins); without it all names of the scan are numbered in alphabetic order. Raises `InputError` if a
    pattern matches no structure.
    """
    found, others = _masks(refused)
    numbers = _numbers({name for one in found.values() for name in one.names}, wanted)
    places: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        if image.candidate.series:
            places[image.candidate.series].append(place)
    users: dict[int, list[Path]] = defaultdict(list)
    for path, one in found.items():
        for place in {place for uid in one.series for place in places.get(uid, [])}:
            users[place].append(path)
    labelled, why = list(images), dict.fromkeys(found, ("mask of no scanned series", ""))
    for place, paths in users.items():
        for path, result in _labelled(images[place], {path: found[path] for path in paths}, numbers).items():
            if not isinstance(result, Rejected):
                labelled[place] = result
            why[path] = (result.reason, result.detail) if isinstance(result, Rejected) else ("", "")
    used = {image.label for image in labelled}
    left = [(path, *reason) for path, reason in why.items() if path not in used]
    return Attached(labelled, [*others, *left], _told(labelled, numbers))


def _masks(refused: Sequence[Refused]) -> tuple[dict[Path, Reference], list[Refused]]:
    found: dict[Path, Reference] = {}
    others = []
    for path, reason, detail in refused:
        try:
            one = reading.reference(path) if _may_be_mask(reason, detail) else None
        except Rejected as verdict:
            others.append((path, verdict.reason, verdict.detail))
            continue
        if one is None:
            others.append((path, reason, detail))
        else:
            found[path] = one
    return found, others


def _may_be_mask(reason: str, detail: str) -> bool:
    return reason == "not an image" and detail.rpartition("modality ")[2] in reading.FORMATS


def _numbers(names: set[str], wanted: Mapping[str, int] | None) -> dict[str, int]:
    if not wanted:
        return {name: number for number, name in enumerate(sorted(names), 1)}
    chosen = {}
    for name in names:
        fits = [number for pattern, number in wanted.items() if fnmatchcase(name.lower(), pattern.lower())]
        chosen.update({name: fits[0]} if fits else {})
    lost = [pattern for pattern in wanted if not any(fnmatchcase(name.lower(), pattern.lower()) for name in names)]
    if lost:
        has = f"they are {', '.join(sorted(names)[:SHOWN])}" if names else "no DICOM SEG or RTSTRUCT was found"
        raise InputError(f"--structures: no structure is called {lost[0]} ({has})")
    return chosen


def _labelled(
    image: Image, masks: Mapping[Path, Reference], numbers: Mapping[str, int]
) -> dict[Path, Image | Rejected]:
    """The image with its label, or why each file cannot be its label."""
    if image.label is not None:
        return dict.fromkeys(masks, Rejected("its image has another label", image.label.name))
    if len(masks) > 1:
        told = f"{len(masks)} refer to one series: keep one of them in the folder"
        return dict.fromkeys(masks, Rejected("one of several masks of a series", told))
    ((path, about),) = masks.items()
    try:
        if len(image.look.shape) < 3:
            raise Rejected("mask of a 2D image", "only those of volumes are read")
        label = reading.read(path, *image.look.grid, numbers)
    except Rejected as verdict:
        return {path: verdict}
    own = {name: numbers[name] for name in about.names if name in numbers}
    return {path: image._replace(label=path, values=qc.few_values(label.array), structures=own)}


def _told(images: Sequence[Image], numbers: Mapping[str, int]) -> list[str]:
    count = sum(bool(image.structures) for image in images)
    if not count:
        return []
    shown = [f"{number} {name}" for name, number in sorted(numbers.items(), key=lambda item: item[1])]
    listed = ", ".join(shown[:SHOWN]) + (", ..." if len(shown) > SHOWN else "")
    return [f"{count} images have a label from DICOM SEG or RTSTRUCT ({listed}): --structures chooses and numbers them"]
