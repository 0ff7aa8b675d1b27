"""Images outside a cache: files and DICOM folders, each with a unique name, prepared as in a cache."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl.data import grid
from medssl.data.read import dicom, reader
from medssl.data.reject import Rejected, rejecting
from medssl.data.scan.files import printable, walk
from medssl.data.split import stem_of
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from medssl.data.read.volume import Volume

HIDDEN = "."  # first character of hidden files and of unfinished writes


class Source(NamedTuple):
    """One image: a file, or the files of one DICOM image."""

    name: str
    files: list[Path]
    frames: list[tuple[int, int]] | None

    def read(self) -> Volume:
        """The image as stored. Raises `Rejected` if it cannot be read."""
        return reader.of(self.files, self.frames)


def sources(inputs: Sequence[Path]) -> tuple[list[Source], dict[str, str]]:
    """Find the images in files and folders: returns them with unique names, and the other files with the reason.

    The name of a file in a given folder is its path below that folder without the file extension, that of a DICOM image
    the path of its folder; a file given directly is named by its stem. If several inputs have equal names, the name of
    the input is put before them; names that are still equal, as of two images in one DICOM folder, get a number.
    """
    pictures: list[tuple[Path, Source]] = []
    headers: dict[Path, Path] = {}
    rejected: dict[str, str] = {}
    for given in inputs:
        files, closed = _files(given)
        rejected |= closed
        for file in files:
            if _is_dicom(file):
                headers.setdefault(file, given)
            else:
                pictures.append((given, Source(_below(file, given), [file], None)))
    series, refused = dicom.group(list(headers))
    rejected |= {str(file): _told(reason, detail) for file, reason, detail in refused}
    for one in series:
        given = headers[one.files[0]]
        place = given if given.is_file() else one.files[0].parent
        pictures.append((given, Source(_below(place, given), one.files, one.frames)))
    return _named_apart(pictures), rejected


def prepared(volume: Volume, preprocessing: Mapping[str, Any], channels: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Prepare an image as in a cache with this `preprocessing`: the array (C,*S) and its geometry.

    Raises `Rejected` for an image with another number of channels, or of a kind that the preset does not accept.
    """
    with rejecting(""):
        array, geometry = grid.to_array(volume, preprocessing)
    if array.shape[0] != channels:
        raise Rejected("other channels", f"the image has {array.shape[0]}, the network takes {channels}")
    return array, geometry


def why(error: Rejected) -> str:
    """Why an image was skipped, in one line."""
    return _told(error.reason, error.detail)


def _told(reason: str, detail: str) -> str:
    return f"{reason} ({detail})" if detail else reason


def _files(path: Path) -> tuple[list[Path], dict[str, str]]:
    """The files of an input, and what cannot be read with the reason; hidden files are ignored."""
    if not path.exists():
        return [], {printable(str(path)): "does not exist"}
    try:
        found, refused = walk([path], ())
    except InputError:
        return [], {printable(str(path)): "holds no file"}
    shown = [file for file in found if file == path or not file.name.startswith(HIDDEN)]
    closed = {printable(str(file)): _told(why, more) for file, why, more in refused if not file.name.startswith(HIDDEN)}
    return shown, closed


def _is_dicom(file: Path) -> bool:
    """By its content, or where that cannot be read by its name, so that reading says why."""
    try:
        return reader.kind(file) == "dicom"
    except OSError:
        return reader.by_name(file) == "dicom"


def _below(place: Path, given: Path) -> str:
    """The path of a file or folder below its input, without file extension; for the input itself its name."""
    path = place.resolve() if place == given else place.relative_to(given)
    stem = stem_of(path.name) if place.is_file() else path.name
    return stem if place == given else (path.parent / stem).as_posix()


def _named_apart(found: Sequence[tuple[Path, Source]]) -> list[Source]:
    counts = Counter(source.name for _, source in found)
    of_inputs = {source.name: set[Path]() for _, source in found}
    for given, source in found:
        of_inputs[source.name].add(given)
    names = [
        f"{given.resolve().name if given.is_dir() else given.resolve().parent.name}/{source.name}"
        if counts[source.name] > 1 and len(of_inputs[source.name]) > 1
        else source.name
        for given, source in found
    ]
    counts, taken = Counter(names), set(names)
    numbered = []
    for name, (_, source) in zip(names, found, strict=True):
        number, own = 0, name
        while counts[name] > 1 and (own in taken):
            number += 1
            own = f"{name}_{number}"
        taken.add(own)
        numbered.append(source._replace(name=own))
    return numbered
