"""Preparation in parts, by several processes or machines that share a folder.

Each part writes a small file for every image that it rejects, so that the last part knows that all were tried. Then the
cache is complete, and these files are deleted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from medssl.data.files import write_json
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
    """Record what this part rejected; returns what all parts rejected, and how many of `names` are not tried yet.

    An image that an earlier try rejected and a later one prepared is not rejected.
    """
    for name, reason in rejected.items():
        write_json(out / FOLDER / f"{name}.json", reason)
    there = {file.stem for file in (out / "cases").glob("*.json")}
    lost = {}
    for file in sorted((out / FOLDER).glob("*.json")):
        if file.stem in there:
            file.unlink(missing_ok=True)
        else:
            lost[file.stem] = json.loads(file.read_text(encoding="utf-8"))
    return lost, sum(name not in there and name not in lost for name in names)


def clear(out: Path) -> None:
    """Delete the files of rejected images after cache.json lists them."""
    for file in (out / FOLDER).glob("*.json"):
        file.unlink(missing_ok=True)
    if (out / FOLDER).is_dir() and not any((out / FOLDER).iterdir()):
        (out / FOLDER).rmdir()
