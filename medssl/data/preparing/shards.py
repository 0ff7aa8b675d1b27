"""Preparation in parts, by several processes or machines that share a folder.

A part leaves a small file for each image that it rejects, so that the last part to end knows that all were tried; then
the cache is complete, and these files go.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from medssl.data import atomic
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

FOLDER = "rejected"
Item = TypeVar("Item")


def part_of(items: Sequence[Item], shard: tuple[int, int] | None) -> list[Item]:
    """Every n-th item from the i-th on, for shard (i, n) counted from 1; all for None. Raises `InputError`."""
    if shard is None:
        return list(items)
    number, count = shard
    if not 1 <= number <= count:
        raise InputError(f"shard is {number} of {count}: give a number from 1 to {count}")
    return list(items[number - 1 :: count])


def joined(out: Path, rejected: Mapping[str, str], names: Iterable[str]) -> tuple[dict[str, str], int]:
    """Leave word of what this part rejected; what all parts did, and how many of `names` no part has tried yet."""
    for name, reason in rejected.items():
        atomic.write(out / FOLDER / f"{name}.json", json.dumps(reason))
    files = sorted((out / FOLDER).glob("*.json"))
    tried = {file.stem for file in [*files, *(out / "cases").glob("*.json")]}
    waiting = sum(name not in tried for name in names)
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}, waiting


def clear(out: Path) -> None:
    """Remove the files of rejected images, once cache.json lists these."""
    for file in (out / FOLDER).glob("*.json"):
        file.unlink(missing_ok=True)
    if (out / FOLDER).is_dir() and not any((out / FOLDER).iterdir()):
        (out / FOLDER).rmdir()
