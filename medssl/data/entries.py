"""Which files make which image: the lines of .files.jsonl beside a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Entries(Mapping[str, dict[str, Any]]):
    """The entries of a .files.jsonl by id, each decoded when it is asked for: a million of them need little memory."""

    def __init__(self, path: Path) -> None:
        self.path, start = path, '{"id": "'
        self.lines: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
            if not line.startswith(start):
                raise InputError("a line does not begin with an id")
            self.lines[line[len(start) : line.index('"', len(start))]] = line

    def __getitem__(self, name: str) -> dict[str, Any]:
        line = self.lines[name]
        try:
            return {key: value for key, value in json.loads(line).items() if key != "id"}
        except ValueError as error:
            raise InputError(f"the line of {name} in {self.path} is damaged ({error}): scan again") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)
