"""The time points of 4D NIfTI files: the first, their mean, or an image each (`--frames`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.data.read import nifti, reader
from medssl.data.reject import Rejected, rejecting
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.scan.candidate import Candidate

HOW = ("first", "mean", "each")


def expand(found: Sequence[Candidate], how: str | None) -> list[Candidate]:
    """The candidates, with the frames to take of those that have several time points. Raises `InputError`."""
    if how is None:
        return list(found)
    if how not in HOW:
        raise InputError(f"--frames {how} is not one of {', '.join(HOW)}")
    return [image for one in found for image in _of(one, how)]


def _of(one: Candidate, how: str) -> list[Candidate]:
    count = _count(one)
    if count < 2:
        return [one]
    times = [(0, time) for time in range(count)]
    if how == "each":
        return [one._replace(frames=[time], part=time[1]) for time in times]
    chosen = times[:1] if how == "first" else times
    return [one._replace(frames=chosen, notes=(*one.notes, f"{how} of {count} time points"))]


def _count(one: Candidate) -> int:
    """How many time points a file has; 1 for one that is no NIfTI or cannot be read, whose reading says why."""
    first = one.files[0]
    try:
        with rejecting(first):
            return nifti.times(first) if reader.kind(first) == "nifti" else 1
    except Rejected:
        return 1
