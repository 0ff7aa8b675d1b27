"""The user's CSV with one row per image: labels, classes, patients and more."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl.data.boxes.form import Mark
from medssl.data.lists import reading
from medssl.data.manifest import UNCERTAIN
from medssl.data.scan import spreadsheet
from medssl.data.split import part_name, stem_of
from medssl.messages import suggest
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIELDS = ("label", "class", "patient", "split", "boxes", "modality")
NONE = ("", "none")  # of boxes, in any capitals: not known; searched, nothing found
IGNORE = "ignore"
KEPT = ("sex", "age", "view", "scanner")  # further columns that are written beside the manifest if the table has them


SEVERAL = "|"  # between columns that are a class each
NO_FINDING = "No Finding"  # the class of a row whose columns are all absent
MARKS = {  # what a column of one class may hold -> what follows its name; None: absent
    **dict.fromkeys(("1", "1.0", "true", "yes"), ""),
    **dict.fromkeys(("-1", "-1.0", "u", "?"), UNCERTAIN),
    **dict.fromkeys(("0", "0.0", "", "nan", "false", "no"), None),
}


class Record(NamedTuple):
    """What the table says about one image."""

    id: str
    label: Path | None
    classes: tuple[str, ...]
    patient: str
    split: str
    modality: str
    boxes: tuple[Mark, ...]
    searched: bool  # looked at without a finding
    further: dict[str, str]


class Table(NamedTuple):
    """A table, with its records by file name."""

    path: Path
    records: dict[str, list[Record]]
    further: tuple[str, ...]  # names of the further columns
    notices: tuple[str, ...] = ()  # how it was read, if not in the usual form

    def find(self, names: Sequence[str]) -> Record | None:
        """The record whose id is one of `names`, or the end of one that is a path; file endings do not matter.

        Else one with a path of another computer that has the same name at its end; else, for names that are numbers,
        one with the same number without leading zeros, which spreadsheets drop.
        """
        for name in names:
            same = self.records.get(stem_of(name), [])
            fits = [record for record in same if _is_tail(record.id, name)]
            if fits:
                return max(fits, key=lambda record: len(record.id))
            elsewhere = [record for record in same if _is_absolute(record.id)]
            best = sorted(elsewhere, key=lambda record: _common_tail(record.id, name))
            if len(best) == 1 or (best and _common_tail(best[-1].id, name) > _common_tail(best[-2].id, name)):
                return best[-1]
        return next((record for name in names if (record := self._by_number(stem_of(name)))), None)

    def _by_number(self, stem: str) -> Record | None:
        number = stem.lstrip("0") or "0"
        same = self.records.get(number, []) if stem.isdigit() and number != stem else []
        return same[0] if len(same) == 1 else None


def read(path: Path, id_column: str, columns: Mapping[str, str] | None = None) -> Table:
    """Read a table with commas, semicolons or tabs; `columns` says which column holds what (our name -> its name).

    Raises `InputError` if the file or a column is missing, an id occurs twice, or a label is not a file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no table at {path}: --table is a CSV file, or the list of another tool")
    lines, has, notices = _lines(path, id_column)
    use = _columns(path, has, id_column, dict(columns or {}))
    joint = spreadsheet.joint([line.get(use["class"]) or "" for line in lines]) if "class" in use else ";"
    if joint != ";":
        notices.append(f"classes in column '{use['class']}' of {path.name} are separated by '{joint}'")
    records: dict[str, list[Record]] = {}
    for line in lines:
        record = _record(path, line, id_column, use, joint)
        same = records.setdefault(stem_of(record.id), [])
        if any(other.id == record.id for other in same):
            raise InputError(f"{path} has two rows with {id_column}={record.id}: it must have one row per image")
        same.append(record)
    return Table(path, records, tuple(name for name in use if name not in FIELDS), tuple(notices))


def _lines(path: Path, id_column: str) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """The lines of a table or of another tool's list, its columns, and notices."""
    listed = reading.rows(path)
    if listed is not None:
        lines, name = listed
        has = list(dict.fromkeys(column for line in lines for column in line)) or [reading.ID]
        return lines, has, [f"{path.name} was read as a list of {name} with {len(lines)} images"]
    reader, notices = spreadsheet.rows(path, id_column)
    filled = [line for line in reader if any(isinstance(cell, str) and cell.strip() for cell in line.values())]
    return filled, list(reader.fieldnames or []), notices


def _columns(path: Path, has: list[str], id_column: str, asked: dict[str, str]) -> dict[str, str]:
    wide = _wide(asked.get("class", ""), has)
    named = [column for name, column in asked.items() if name != "class"]
    missing = [column for column in (id_column, *named, *wide) if column not in has]
    if missing:
        raise InputError(f"{path} has no column '{missing[0]}'{suggest(missing[0], has)}")
    if len(wide) > 1:
        asked = {**asked, "class": SEVERAL.join(wide)}
    lower = {column.lower(): column for column in has}
    free = {name: lower[name] for name in (*FIELDS, *KEPT) if name in lower and lower[name] not in asked.values()}
    return {**free, **asked}


def _wide(columns: str, has: Sequence[str]) -> list[str]:
    """The columns that hold classes: one of names, or several, each of which is a class (`Edema|Fracture`)."""
    found = [columns] if columns in has else columns.split(SEVERAL)
    return [part.strip() for part in found if part.strip()]


def _findings(path: Path, line: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    """The classes of a row with a column for each: 1 present, 0 or nothing absent, -1 uncertain (`Edema?`)."""
    found = []
    for column in columns:
        text = (line.get(column) or "").strip().lower()
        if text not in MARKS:
            raise InputError(f"column '{column}' of {path} has '{text}': 1 (present), 0, -1 (uncertain) or nothing")
        found += [f"{column}{MARKS[text]}"] if MARKS[text] is not None else []
    return tuple(found) or (NO_FINDING,)


def _record(path: Path, line: Mapping[str, Any], id_column: str, use: Mapping[str, str], joint: str) -> Record:
    cell = {name: (line.get(column) or "").strip() for name, column in use.items()}
    wide = use.get("class", "").split(SEVERAL) if use.get("class", "") not in line else []
    name = (line[id_column] or "").strip().replace("\\", "/")
    return Record(
        id=name,
        label=_label(path, cell.get("label", ""), use.get("label", "")),
        classes=_findings(path, line, wide) if len(wide) > 1 else _split(cell.get("class", ""), joint),
        patient=cell.get("patient", ""),
        split=part_name(cell.get("split", ""), f"column '{use.get('split')}' of {path}"),
        modality=cell.get("modality", ""),
        boxes=tuple(
            _box(path, name, text) for text in cell.get("boxes", "").split(";") if text.strip().lower() not in NONE
        ),
        searched=cell.get("boxes", "").strip("; ").lower() == NONE[1],
        further={name: text for name, text in cell.items() if name not in FIELDS},
    )


def _split(text: str, joint: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(joint) if part.strip())


def _label(path: Path, text: str, column: str) -> Path | None:
    if not text:
        return None
    label = path.parent / text.replace("\\", "/")
    if not label.is_file():
        raise InputError(
            f"column '{column}' of {path} must contain label files, but '{text}' is not a file in {path.parent}; "
            f"if it contains classes, give --columns class={column}"
        )
    return label.resolve()


def _box(path: Path, name: str, text: str) -> Mark:
    """`nodule: 10 20 30 14 28 38`: start, then stop, in index order; the class is optional.

    `ignore: nodule: ...` is a box that scores neither ask for nor hold against what finds it.
    """
    label, _, numbers = text.rpartition(":")
    first, sign, rest = label.partition(":")
    ignore = first.strip().lower() == IGNORE
    label = (rest if sign else "") if ignore else label
    values = [part for part in re.split(r"[\s,]+", numbers.strip()) if part]
    if len(values) not in (4, 6) or not all(re.fullmatch(r"-?\d+(\.\d+)?", v) for v in values):
        raise InputError(
            f"{path}: box '{text.strip()}' of {name} must be 'class: start stop', 4 (2D) or 6 (3D) numbers"
        )
    half = len(values) // 2
    start, stop = (tuple(map(_number, part)) for part in (values[:half], values[half:]))
    if any(low >= high for low, high in zip(start, stop, strict=True)):
        raise InputError(f"{path}: box '{text.strip()}' of {name} is empty; stop must be above start on every axis")
    return Mark(label.strip(), start, stop, ignore=ignore)


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


def _is_tail(short: str, long: str) -> bool:
    one, other = PurePosixPath(short).parts[:-1], PurePosixPath(long).parts[:-1]
    return len(one) <= len(other) and other[len(other) - len(one) :] == one


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or re.match(r"[A-Za-z]:/", name) is not None


def _common_tail(one: str, other: str) -> int:
    """How many folders two paths share at their end."""
    pairs = zip(reversed(PurePosixPath(one).parts[:-1]), reversed(PurePosixPath(other).parts[:-1]), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), len(PurePosixPath(one).parts))
