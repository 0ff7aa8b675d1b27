"""The files below folders, each once, in a fixed order; and those that cannot be read, with the reason."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

JUNK = ("Thumbs.db", "desktop.ini", ".DS_Store")  # files that operating systems add to folders
JUNK_FOLDER = "__MACOSX"
Refused = tuple[Path, str, str]  # file, reason, detail


def walk(folders: Sequence[Path], skip: Collection[Path]) -> tuple[list[Path], list[Refused]]:
    """All files below `folders` except `skip`, sorted; and what is not a readable file, with the reason.

    Pipes, sockets and devices are never opened. Links are followed if they stay below `folders`, each folder once.
    Raises `InputError` if a folder is missing or all are empty.
    """
    refused: list[Refused] = []
    found: set[Path] = set()
    roots = [os.path.realpath(folder) for folder in folders]
    for folder in folders:
        if not folder.exists():
            raise InputError(f"there is no folder {folder}: give the folder that contains the images")
        found.update([folder] if folder.is_file() else _below(folder, roots, refused))
    files = []
    for path in sorted(found - set(skip)):
        problem = _problem(path, roots)
        if problem is None:
            files.append(path)
        else:
            refused.append((path, *problem))
    if not files and not refused:
        raise InputError(f"{', '.join(map(str, folders))} contains no files: give the folder that contains the images")
    return files, refused


def is_junk(path: Path) -> bool:
    """Whether the operating system made a file (AppleDouble `._*`, `__MACOSX`, thumbnails)."""
    return path.name.startswith("._") or path.name in JUNK or JUNK_FOLDER in path.parts


def root_of(folders: Sequence[Path]) -> Path:
    """The deepest folder that contains all `folders`."""
    return Path(os.path.commonpath([folder if folder.is_dir() else folder.parent for folder in folders]))


def relative(path: Path, root: Path) -> str:
    """A path relative to the root, with slashes."""
    return os.path.relpath(path, root).replace(os.sep, "/")


def printable(text: str) -> str:
    """A file name as UTF-8 text, with escapes for bytes that are not UTF-8."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _problem(path: Path, roots: Sequence[str]) -> tuple[str, str] | None:
    """Why a path must not be opened, or None."""
    if path.as_posix() != printable(path.as_posix()):
        return "name is not UTF-8", "rename the file or its folder"
    if is_junk(path):
        return "file of an operating system", ""
    if path.is_symlink() and not _inside(os.path.realpath(path), roots):
        return "link out of the folder", "scan the folder that it points to"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return "cannot be read", getattr(error, "strerror", None) or "broken link"
    return None if stat.S_ISREG(mode) else ("not a file", "a pipe, socket or device")


def _below(folder: Path, roots: Sequence[str], refused: list[Refused]) -> Iterator[Path]:
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        refused.append((Path(error.filename), "folder cannot be read", error.strerror or ""))

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        if not _inside(real, roots):
            refused.append((Path(place), "link out of the folder", "scan the folder that it points to"))
            folders.clear()
            continue
        if real in seen:  # a link upward, or a second link to the same folder
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(place, name) for name in names)


def _inside(real: str, roots: Sequence[str]) -> bool:
    return any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
