"""How medssl writes and reads small files: whole or not at all, CSV, JSON and JSON lines, all in UTF-8."""

from __future__ import annotations

import csv
import gc
import json
import math
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # NaN and infinity are None


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the search for circles of objects, which takes most of the time where millions of objects are made."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; it is renamed to `path` at the end, or removed if writing fails.

    Readers therefore see the old file or the new one, never a part of it. The name belongs to this thread alone, so
    that several may write one file, and ends like `path`, because some writers go by the suffix. Missing folders are
    created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{os.getpid()}.{threading.get_ident()}.{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writable(place: object, *, advice: str = "choose another --out") -> Iterator[None]:
    """Raise `InputError` instead of `OSError` where something below `place` cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{place} cannot be written ({error.strerror or error}): {advice}") from error


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; NaN and infinity become null."""
    write(path, json.dumps(plain(content), indent=1) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV table, whole or not at all.

    Cells are written as they are, without a guard against spreadsheet formulas: most tables are read back, and a
    changed file name would be the name of no file.
    """
    with writing(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([columns, *rows])


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table that medssl wrote; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines (one object per line), whole or not at all."""
    write(path, "".join(line(record) for record in records))


def line(record: Mapping[str, Any]) -> str:
    """One object as a line of a JSON lines file."""
    return json.dumps(plain(dict(record))) + "\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file; none if there is no such file.

    A last line that a kill cut short, which has no newline, is left out. NaN is read as None. Raises `InputError` if
    another line is not an object.
    """
    if not path.is_file():
        return []
    records: list[dict[str, Any]] = []
    whole = path.read_bytes().decode("utf-8", "replace").split("\n")[:-1]
    for number, text in enumerate(whole, 1):
        try:
            record = DECODER.decode(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is damaged (line {number} is not JSON: {error.msg}): remove that line") from None
        if not isinstance(record, dict):
            raise InputError(f"{path} is damaged (line {number} is not a JSON object): remove that line")
        records.append(record)
    return records


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinity become None (null)."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
