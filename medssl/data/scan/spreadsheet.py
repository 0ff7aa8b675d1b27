"""Read tables as spreadsheets save them: encodings, separators, several classes in one cell."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from typing import TYPE_CHECKING

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def rows(path: Path, id_column: str) -> tuple[csv.DictReader, list[str]]:
    """The rows of a table, and a notice if its separator is not a comma. Raises `InputError` if it is not text."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}): save it as CSV UTF-8") from None
    heads = {sign: next(csv.reader(io.StringIO(text, newline=""), delimiter=sign), []) for sign in SEPARATORS}
    sign = max(SEPARATORS, key=lambda sign: (id_column in heads[sign], len(heads[sign])))
    if len(set(heads[sign])) < len(heads[sign]):
        twice = next(name for name, count in Counter(heads[sign]).items() if count > 1)
        raise InputError(f"{path} has two columns named '{twice}': give each a name of its own")
    notices = [] if sign == "," else [f"{path.name} was read as a table with {SEPARATORS[sign]}"]
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=sign), notices


def joint(cells: Sequence[str]) -> str:
    """What separates classes in a cell: `;`, else `|`, else a comma if its parts occur alone in other cells."""
    for sign in ";|":
        if any(sign in cell for cell in cells):
            return sign
    joined = [[part.strip() for part in cell.split(",")] for cell in cells if "," in cell]
    alone = {cell.strip() for cell in cells if "," not in cell}
    often = Counter(part for parts in joined for part in parts)
    if joined and all(any(part in alone or often[part] > 1 for part in parts) for parts in joined):
        return ","
    return ";"
