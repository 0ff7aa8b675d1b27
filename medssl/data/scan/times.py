"""The time points of 4D NIfTI files: the first, their mean, or an image each (`--frames`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from medssl.data.read import nifti, reader
from medssl.data.reject import Rejected, rejecting
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

HOW = ("first", "mean", "each")


class Part(NamedTuple):
    """One image of a file: its frames as (0, time), or None for the whole file."""

    frames: list[tuple[int, int]] | None = None
    part: int = 0
    notes: tuple[str, ...] = ()


def parts(path: Path, how: str | None) -> list[Part]:
    """The images of a file, with the frames to take if it has several time points. Raises `InputError`."""
    if how is not None and how not in HOW:
        raise InputError(f"--frames {how} is not one of {', '.join(HOW)}")
    count = 1 if how is None else _count(path)
    if count < 2:
        return [Part()]
    times = [(0, time) for time in range(count)]
    if how == "each":
        return [Part([time], time[1]) for time in times]
    return [Part(times[:1] if how == "first" else times, 0, (f"{how} of {count} time points",))]


def _count(path: Path) -> int:
    """How many time points a file has; 1 for one that is no NIfTI or cannot be read, whose reading says why."""
    try:
        with rejecting(path):
            return nifti.times(path) if reader.kind(path) == "nifti" else 1
    except Rejected:
        return 1
