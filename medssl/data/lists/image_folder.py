"""A folder of folders that each are a class (torchvision's ImageFolder)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def rows(folder: Path) -> list[dict[str, str]]:
    """One row per file, whose class is the name of its folder; files in `folder` itself have none."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.parent != folder]
    return [{"id": file.relative_to(folder).as_posix(), "class": file.parent.name} for file in files]
