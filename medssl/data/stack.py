"""Which rows of a manifest make one case: a single row, or co-registered series of a patient as channels."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medssl.data.files import uncollected
from medssl.data.manifest import PATIENT_GUESSED, Manifest
from medssl.data.read import reader
from medssl.data.read.volume import Volume, orient
from medssl.data.reject import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.manifest import Row

SAME_GRID = 1e-2  # mm


class Job(NamedTuple):
    """The rows of one case, in channel order; its id, label and facts are the first row's."""

    rows: tuple[Row, ...]
    found: Manifest  # of all rows

    @property
    def manifest(self) -> Manifest:
        """The manifest of these rows only."""
        entries = {row.id: self.found.entries[row.id] for row in self.rows}
        first, *others = self.rows
        for row in others:  # the label may have come with another channel, and with it what its structures are
            if row.label and row.label == first.label and "structures" in entries[row.id]:
                entries[first.id] = {**entries[first.id], "structures": entries[row.id]["structures"]}
        return Manifest(list(self.rows), self.found.root, self.found.path, entries)

    def __reduce__(self) -> tuple[type[Job], tuple[tuple[Row, ...], Manifest]]:
        """What is sent to another process: no other rows."""
        return Job, (self.rows, self.manifest)


@uncollected()
def groups(found: Manifest, channels: Sequence[str] | None) -> tuple[list[Job], dict[str, str]]:
    """The cases of a manifest, and the rows that are skipped (id -> reason).

    With `channels`, a row is channel c if the path of its source contains c as a word of its own, in upper or lower
    case (T1 does not match T1c). Rows of one patient form one case if their paths differ in that word only, else if
    they are from one study; if patients were guessed from names, equal paths are enough. A row whose other channels are
    missing is skipped.
    """
    if not channels:
        return [_job(found, [row]) for row in found.rows], {}
    named, rejected = _named(found.rows, channels)
    jobs = []
    for key in (_source_key, _study_key):
        sets: dict[tuple[str, ...], list[tuple[str, Row]]] = defaultdict(list)
        for word, row in named:
            sets[key(word, row)].append((word, row))
        whole = [dict(rows) for rows in sets.values() if sorted(word for word, _ in rows) == sorted(channels)]
        jobs += [_job(found, [rows[word] for word in channels]) for rows in whole]
        used = {row.id for rows in whole for row in rows.values()}
        named = [(word, row) for word, row in named if row.id not in used]
    rejected |= {row.id: f"its case does not have exactly one each of {', '.join(channels)}" for word, row in named}
    return jobs, rejected


def load(job: Job) -> tuple[Volume, Volume | None]:
    """The image (C,*S) of a case and its label, as stored. Raises `Rejected`, also for channels on different grids."""
    first, *others = [reader.load(job.manifest, row) for row in job.rows]
    label = reader.load_label(job.manifest, job.rows[0], first)
    if not others:
        return first, label
    turned = [orient(volume) for volume in (first, *others)]
    for volume in turned[1:]:
        same = volume.array.shape == turned[0].array.shape
        if not same or not np.allclose(volume.affine, turned[0].affine, atol=SAME_GRID):
            raise Rejected("channels on different grids", "co-register them and resample them to one grid first")
    return turned[0]._replace(array=np.concatenate([volume.array for volume in turned])), label


def _named(rows: Sequence[Row], channels: Sequence[str]) -> tuple[list[tuple[str, Row]], dict[str, str]]:
    named, rejected = [], {}
    for row in rows:
        held = [word for word in channels if _pattern(word).search(row.source)]
        if len(held) == 1:
            named.append((held[0], row))
        else:
            rejected[row.id] = f"its path contains {len(held)} of the words {', '.join(channels)}, one is needed"
    return named, rejected


@lru_cache
def _pattern(word: str) -> re.Pattern:
    return re.compile(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", re.IGNORECASE)


def _source_key(word: str, row: Row) -> tuple[str, ...]:
    return ("" if PATIENT_GUESSED in row.qc else row.patient, _pattern(word).sub("*", row.source))


def _study_key(word: str, row: Row) -> tuple[str, ...]:
    return (row.patient, row.study)


def _job(found: Manifest, rows: list[Row]) -> Job:
    """The case of these rows, with the first label, class and split found among them."""
    if len(rows) == 1:
        return Job((rows[0],), found)
    facts = {}
    for name in ("label", "classes", "split"):
        facts[name] = next((getattr(row, name) for row in rows if getattr(row, name)), getattr(rows[0], name))
    return Job((replace(rows[0], **facts), *rows[1:]), found)
