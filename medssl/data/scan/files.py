"""The files below folders, each once, in a fixed order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


def walk(folders: Sequence[Path], skip: Collection[Path]) -> tuple[list[Path], list[tuple[Path, str, str]]]:
    """All files below `folders` but those in `skip`, sorted, and the folders that cannot be read with the reason.

    Links to folders are followed, each folder once. Raises `InputError` if a folder is missing or all are empty.
    """
    closed: list[tuple[Path, str, str]] = []
    found: set[Path] = set()
    for folder in folders:
        if not folder.exists():
            raise InputError(f"there is no folder {folder}; give the folder that holds the images")
        found.update([folder] if folder.is_file() else _below(folder, closed))
    files = sorted(found - set(skip))
    if not files and not closed:
        raise InputError(f"{', '.join(map(str, folders))} holds no file; give the folder that holds the images")
    return files, closed


def root_of(folders: Sequence[Path]) -> Path:
    """The deepest folder that holds all `folders`."""
    return Path(os.path.commonpath([folder if folder.is_dir() else folder.parent for folder in folders]))


def _below(folder: Path, closed: list[tuple[Path, str, str]]) -> Iterator[Path]:
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        closed.append((Path(error.filename), "folder cannot be read", error.strerror or ""))

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        if real in seen:  # a link back up, or a second way to the same folder
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(place, name) for name in names)
