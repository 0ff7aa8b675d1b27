"""Images as they come: single files and DICOM folders, each with a name of its own and prepared like a cache."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl.data import grid
from medssl.data.read import dicom, reader
from medssl.data.reject import Rejected
from medssl.data.split import stem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from medssl.data.read.volume import Volume

HIDDEN = "."  # files of operating systems and of partial writes start with it


class Source(NamedTuple):
    """One image: a file, or the files of one DICOM image."""

    name: str
    files: list[Path]
    frames: list[tuple[int, int]] | None

    def read(self) -> Volume:
        """The image as it is stored. Raises `Rejected`."""
        if reader.kind(self.files[0]) == "dicom":
            return dicom.read(self.files, self.frames)
        return reader.read(self.files[0])


def sources(inputs: Iterable[Path]) -> tuple[list[Source], dict[str, str]]:
    """The images in files and folders, each with a name of its own; and the files that are none, with the reason.

    A file gives its stem as name, a DICOM image its folder's name, numbered where a folder holds several.
    """
    pictures: list[Source] = []
    headers: list[Path] = []
    rejected: dict[str, str] = {}
    for path in inputs:
        if not path.exists():
            rejected[str(path)] = "does not exist"
        for file in _files(path):
            if reader.kind(file) == "dicom":
                headers.append(file)
            else:
                pictures.append(Source(stem_of(file.name), [file], None))
    series, refused = dicom.group(headers)
    rejected |= {str(file): f"{reason} ({detail})" if detail else reason for file, reason, detail in refused}
    alone = {file.resolve() for file in inputs if file.is_file()}
    pictures += [Source(_series_name(one.files, alone), one.files, one.frames) for one in series]
    return _numbered(pictures), rejected


def prepared(volume: Volume, preprocessing: Mapping[str, Any], channels: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The array (C,*S) and geometry that a cache with this `preprocessing` would hold of an image.

    Raises `Rejected` for an image that has not so many `channels`, or that the preset refuses.
    """
    array, geometry = grid.to_array(volume, preprocessing)
    if array.shape[0] != channels:
        raise Rejected("other channels", f"the image has {array.shape[0]}, the network takes {channels}")
    return array, geometry


def why(error: Rejected) -> str:
    """Why an image was left out, in one line."""
    return f"{error.reason} ({error.detail})" if error.detail else error.reason


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith(HIDDEN))
    return [path] if path.is_file() else []


def _series_name(files: list[Path], alone: set[Path]) -> str:
    """The folder's name, or the stem of a file that was given by itself."""
    return stem_of(files[0].name) if files[0].resolve() in alone else files[0].resolve().parent.name


def _numbered(found: list[Source]) -> list[Source]:
    counts, seen = Counter(source.name for source in found), Counter[str]()
    named = []
    for source in found:
        seen[source.name] += 1
        several = counts[source.name] > 1
        named.append(source._replace(name=f"{source.name}_{seen[source.name]}") if several else source)
    return named
