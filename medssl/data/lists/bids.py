"""participants.tsv of a BIDS dataset: facts about subjects, given to each of their images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.data.scan import spreadsheet

if TYPE_CHECKING:
    from pathlib import Path

NAME, COLUMN = "participants.tsv", "participant_id"
MISSING = "n/a"  # how BIDS writes an empty cell


def rows(path: Path) -> list[dict[str, str]]:
    """One row per NIfTI file of each subject, with the columns of its line."""
    found = []
    for line in spreadsheet.rows(path, COLUMN)[0]:
        facts = {name: "" if value == MISSING else value or "" for name, value in line.items() if name != COLUMN}
        for file in sorted((path.parent / line[COLUMN]).rglob("*.nii*")):
            found.append({**facts, "id": file.relative_to(path.parent).as_posix(), "patient": line[COLUMN]})
    return found
