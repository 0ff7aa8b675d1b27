"""DICOM files as volumes: grouped by series and geometry, ordered by position; rejected files with the reason."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medssl.data.parallel.workers import mapped
from medssl.data.read import dicom_pixels, dicom_stack, dicom_strays, dicom_uih
from medssl.data.read.dicom_header import STACKED, Slice, modality_of, read_header, slices, uih_tiles
from medssl.data.read.dicom_quick import quick
from medssl.data.read.dicom_straight import straighten
from medssl.data.read.volume import Volume, make, plane
from medssl.data.reject import Rejected, brief, rejecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pydicom.dataset import Dataset

    from medssl.data.read.dicom_quick import QuickHeader


class Series(NamedTuple):
    """The slices of one image, in order."""

    slices: list[Slice]
    part: int  # number of this image within its series
    parts: int  # number of images in its series

    @property
    def files(self) -> list[Path]:
        """The files in slice order, each once."""
        return list(dict.fromkeys(item.path for item in self.slices))

    @property
    def frames(self) -> list[tuple[int, int]] | None:
        """(file number, frame number) of each slice, or None if each file is one slice."""
        if all(item.frames == 1 for item in self.slices):
            return None
        number = {path: place for place, path in enumerate(self.files)}
        return [(number[item.path], item.frame) for item in self.slices]


Refused = tuple["Path", str, str]  # file, reason, detail


def group(
    files: Sequence[Path],
    progress: Callable[[str, int, int], None] | None = None,
    largest_block: bool = False,
    workers: int = 1,
) -> tuple[list[Series], list[Refused]]:
    """Group files into images. Returns the images, and (file, reason, detail) for each file that belongs to none.

    With `largest_block`, only the longest block of evenly spaced slices of a stack with gaps is kept.
    """
    rejected: list[Refused] = []
    copies: dict[tuple, list[tuple[Path, list[Slice]]]] = {}
    for number, (path, result) in enumerate(zip(files, mapped(_slices, files, workers), strict=True)):
        if progress:
            progress("headers", number + 1, len(files))
        if isinstance(result, Rejected):
            rejected.append((path, result.reason, result.detail))
        else:
            copies.setdefault(_identity(result[0]), []).append((path, result))
    found: dict[str, list[Slice]] = {}
    for same in copies.values():
        _, kept = _one_of(same, rejected)
        found.setdefault(kept[0].series, []).extend(kept)
    images: list[Series] = []
    for members in found.values():
        whole, refused = _images(members, largest_block)
        images += whole
        rejected += refused
    return images, rejected


def read(files: Sequence[Path], frames: Sequence[tuple[int, int]] | None = None) -> Volume:
    """The image in `files` (or in the given frames of them) as (1,Z,Y,X), (1,Y,X) or (3,Y,X). Raises `Rejected`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns about every odd value in every file
        sources = [dicom_pixels.source(path) for path in files]
        headers = [slices(source, path) for source, path in zip(sources, files, strict=True)]
        pairs = frames if frames is not None else [(f, n) for f, items in enumerate(headers) for n in range(len(items))]
        chosen = [headers[file][frame] for file, frame in pairs]
        if chosen[0].mosaic and len(chosen) == 1:
            return _mosaic(dicom_pixels.dataset(files[0]), files[0])
        if chosen[0].modality not in STACKED and len(chosen) == 1:
            return _picture(sources[0], chosen[0])
        return _stack(dict(zip(files, sources, strict=True)), dicom_stack.order(chosen))


def broken(path: Path) -> Refused | None:
    """Why the pixels of one file cannot be read, or None."""
    try:
        with rejecting(path):
            dicom_pixels.frames(dicom_pixels.dataset(path), path)
    except Rejected as verdict:
        return path, verdict.reason, verdict.detail
    return None


def _slices(path: Path) -> list[Slice] | Rejected:
    with contextlib.suppress(Exception):  # whatever is odd is read again, in full, for its reason
        if (header := quick(path)) is not None:
            return slices(header, path)
    try:
        with rejecting(path):
            return slices(read_header(path), path)
    except Rejected as verdict:
        return verdict


def _one_of(same: list[tuple[Path, list[Slice]]], rejected: list[Refused]) -> tuple[Path, list[Slice]]:
    """Of several copies of one instance keep the first that can be decoded; the others are skipped."""
    if len(same) == 1:
        return same[0]
    problems = {path: broken(path) for path, _ in same}
    kept = next((pair for pair in same if problems[pair[0]] is None), same[0])
    for path, _ in same:
        if path != kept[0]:
            copy = (path, "duplicate file", f"the same DICOM instance as {kept[0].name}")
            rejected.append(problems[path] or copy)
    return kept


def _identity(item: Slice) -> tuple:
    """What only copies of one instance share: not the UID alone, as some anonymisers give many instances one UID."""
    return (item.series, item.instance, item.position, item.number, item.marks)


def _images(members: list[Slice], largest_block: bool) -> tuple[list[Series], list[Refused]]:
    pictures = [[item] for item in members if item.modality not in STACKED]
    stacks: list[list[Slice]] = []
    refused: list[Refused] = []
    for part in _parted([item for item in members if item.modality in STACKED], refused):
        try:
            stacks.append(_checked(part, refused, largest_block))
        except Rejected as verdict:
            refused += [(path, verdict.reason, verdict.detail) for path in dict.fromkeys(item.path for item in part)]
        except Exception as error:  # numbers in headers may be anything: only their files are lost, not the scan
            refused += [(path, "broken geometry", brief(error)) for path in dict.fromkeys(item.path for item in part)]
    whole = pictures + stacks
    used = {item.path for part in whole for item in part}
    images = [Series(part, number, len(whole)) for number, part in enumerate(whole)]
    return images, list({entry[0]: entry for entry in refused if entry[0] not in used}.values())


def _checked(part: list[Slice], refused: list[Refused], largest_block: bool) -> list[Slice]:
    """The slices of one volume in order, without strays (slices far from the others). Raises `Rejected`."""
    if part[0].mosaic:
        return part
    ordered, strays = dicom_strays.without_strays(part)
    if largest_block:
        ordered, others = dicom_strays.largest_block(ordered)
        refused += [(item.path, "outside the largest even block", f"of {len(ordered)} slices") for item in others]
    dicom_stack.place(ordered)
    refused += [(item.path, "stray slice", where) for item, where in strays]
    return ordered


def _parted(members: list[Slice], refused: list[Refused]) -> Iterable[list[Slice]]:
    try:
        return dicom_stack.volumes(members) if members else []
    except Rejected as verdict:
        refused += [(item.path, verdict.reason, verdict.detail) for item in members]
    except Exception as error:
        refused += [(item.path, "broken geometry", brief(error)) for item in members]
    return []


def _mosaic(source: Dataset, path: Path) -> Volume:
    array, affine = (dicom_uih.grid if uih_tiles(source) else dicom_pixels.mosaic)(source, path)
    return make(dicom_pixels.narrow(array)[None], affine, modality_of(source))


def _stack(sources: Mapping[Path, Dataset | QuickHeader], ordered: Sequence[Slice]) -> Volume:
    stack = dicom_stack.place(ordered)
    pixels = {path: dicom_pixels.frames(source, path) for path, source in sources.items()}
    planes = [dicom_pixels.rescale(pixels[item.path][item.frame], sources[item.path], item.frame) for item in ordered]
    array, affine = np.stack(planes), stack.affine
    if stack.even or stack.shifts.any():
        array, affine = straighten(array, stack)
    return make(dicom_pixels.narrow(array)[None], affine, ordered[0].modality)._replace(notes=stack.notes)


def _picture(source: Dataset | QuickHeader, item: Slice) -> Volume:
    pixels = dicom_pixels.frames(source, item.path)
    if len(pixels) > 1:
        raise Rejected("multi-frame without positions", f"{len(pixels)} frames", item.path)
    if pixels.ndim == 4:
        array = pixels[0].transpose(2, 0, 1)
        array = array if array.dtype == np.uint8 else (array >> 8).astype(np.uint8)
    else:
        array = dicom_pixels.upright(dicom_pixels.rescale(pixels[0], source, 0), source)[None]
    found = plane(dicom_pixels.narrow(array), item.spacing or (1.0, 1.0), item.modality)
    return found._replace(spacing_known=item.spacing is not None)
