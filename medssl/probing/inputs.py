"""The inputs of `embed`: image files, DICOM folders, the images of a manifest, or the cases of a cache."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl.data import manifest, stack
from medssl.data.cache import Cache, Reading
from medssl.data.reject import Rejected
from medssl.runtime.run_directory import differences
from medssl.runtime.sources import prepared, sources, why
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np

    from medssl.data.read.volume import Volume

    Prepared = tuple[
        np.ndarray, Sequence[tuple[float, float]], tuple[float, ...], str
    ]  # array, intensity, mm, modality


class Item(NamedTuple):
    """One image whose features are to be computed."""

    source: str  # a given file, or the file or folder of a row or case
    id: str  # from manifest or cache; "" for an image file
    read: Callable[[], Prepared]  # raises `Rejected`


def find(
    given: Iterable[str | os.PathLike[str]], preprocessing: Mapping[str, Any], channels: int
) -> tuple[list[Item], dict[str, str]]:
    """Every image in `given` (files, folders, manifests, caches), and what is not an image, with the reason.

    Raises `InputError` for a cache that was not prepared as the network expects.
    """
    items: list[Item] = []
    left_out: dict[str, str] = {}
    scans: list[Path] = []
    for path in map(Path, given):
        if (path / "cache.json").is_file():
            items += _of_cache(Cache(path), preprocessing)
        elif path.is_file() and path.suffix.lower() == ".csv":
            found, rejected = _of_manifest(path, preprocessing, channels)
            items += found
            left_out |= rejected
        else:
            scans.append(path)
    found_scans, rejected = sources(scans)
    items += [
        Item(
            str(one.files[0] if len(one.files) == 1 else one.files[0].parent),
            "",
            partial(_volume, one.read, preprocessing, channels),
        )
        for one in found_scans
    ]
    return items, left_out | rejected


def name_of(array: np.ndarray, modality: str) -> str:
    """An id from the content of an image, which reveals nothing about its file name or patient."""
    content = hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()
    return f"{modality.lower()}-{content[:12]}"


def attempt(item: Item) -> Prepared | str:
    """The prepared image, or why it cannot be used."""
    try:
        return item.read()
    except Rejected as error:
        return why(error)


def _of_cache(cache: Cache, preprocessing: Mapping[str, Any]) -> list[Item]:
    if cache.preprocessing != preprocessing:
        lines = differences(dict(preprocessing), cache.preprocessing)
        raise InputError(
            f"cache {cache.path} was prepared differently from the images that the network was trained on "
            f"({'; '.join(lines[:3])}): give the scans or their manifest instead"
        )
    return [Item(str(cache.path), name, partial(_case, cache, name)) for name in cache.ids]


def _case(cache: Cache, name: str) -> Prepared:
    case = cache.cases[name]
    try:
        array = Reading(cache.image(name), f"case {name}")[:]
    except InputError as error:
        raise Rejected("cannot be read", str(error)) from error
    return array, case.intensity, case.spacing, case.modality


def _of_manifest(path: Path, preprocessing: Mapping[str, Any], channels: int) -> tuple[list[Item], dict[str, str]]:
    found = manifest.read(path)
    jobs, rejected = stack.groups(found, preprocessing["channels"])
    left_out = {str(found.root / row.source): rejected[row.id] for row in found.rows if row.id in rejected}
    return [
        Item(
            str(found.root / job.rows[0].source),
            job.rows[0].id,
            partial(_volume, partial(_image, job), preprocessing, channels),
        )
        for job in jobs
    ], left_out


def _image(job: stack.Job) -> Volume:
    return stack.load(job)[0]


def _volume(read: Callable[[], Volume], preprocessing: Mapping[str, Any], channels: int) -> Prepared:
    try:
        volume = read()
    except OSError as error:
        raise Rejected("cannot be read", type(error).__name__) from error
    array, geometry = prepared(volume, preprocessing, channels)
    return array, geometry["intensity"], tuple(geometry["array"]["spacing"]), volume.modality
