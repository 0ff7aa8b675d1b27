"""Guess patients from the names of files and folders, if neither a table nor a header names them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from medssl.data.split import stem_of

if TYPE_CHECKING:
    from collections.abc import Sequence

SEQUENCES = "mri? ct cta pet pt suv t1 t1w t1c t1ce t1gd t1n t2 t2w t2f flair pd pdw dwi adc swi asl bold dti dce mra"
OTHER_WORDS = (
    "image img imaging scan vol volume data raw orig original nifti nii dicom dcm anat func perf series study "
    "gd post pre contrast ce art arterial ven venous portal delayed nc axial ax coronal cor sagittal sag "
    "pa ap lateral lat frontal left right l r cc mlo iso resampled registered n4 brain_extracted "
    "baseline followup images"
)
NUMBERED = "slice sl frame z tile patch aug b phase echo run ses session visit tp week month day acq series study scan"
SEQUENCE = re.compile("|".join(SEQUENCES.split()), re.IGNORECASE)
WORD = re.compile(f"{'|'.join((SEQUENCES + ' ' + OTHER_WORDS).split())}|(?:{'|'.join(NUMBERED.split())})-?\\d+", re.I)
COUNTER = re.compile("|".join(NUMBERED.split()), re.IGNORECASE)  # in `p1_slice_12` the 12 belongs to the word slice
CHANNEL = re.compile(r"_(\d{4})$")  # nnU-Net: case_0000, case_0001, ...
MOST_CHANNELS = 8
NO_PATIENTS = re.compile("fold|site|batch|class|cent(er|re)|set|part|split|grade|stage|group|level|chunk|shard", re.I)


class Guess(NamedTuple):
    """The patient of an image, guessed from its path."""

    name: str
    rule: str  # folder | name | file


def guess(sources: Sequence[str]) -> list[Guess]:
    """Guess the patients of images from their paths relative to one root (a file, or the folder of a DICOM series).

    Words for sequences, views and visits, slice numbers and nnU-Net's channel numbers are removed from the file name. A
    folder is a patient if it and the folders beside it are numbered alike or contain the same few names, or if its
    name contains a number and starts the names of its files. Otherwise the rest of the file name, with the folders
    above it, is the patient.
    """
    channels = _channels(sources)
    parts = [_parts(source, source in channels) for source in sources]
    patients = _patient_folders(parts)
    return [_guess(source, *part, patients) for source, part in zip(sources, parts, strict=True)]


def folder_of(source: str) -> str:
    """The folders of a DICOM series, without words that cannot name a patient."""
    return "/".join(_folders(PurePosixPath(source).parts))


def _parts(source: str, channel: bool) -> tuple[tuple[str, ...], str]:
    """The folders, and what is left of the file name."""
    path = PurePosixPath(source)
    stem = stem_of(path.name)
    return _folders(path.parts[:-1]), _stripped(CHANNEL.sub("", stem) if channel else stem)


def _guess(source: str, folders: tuple[str, ...], stem: str, patients: set[tuple[str, ...]]) -> Guess:
    for depth in range(1, len(folders) + 1):
        if folders[:depth] in patients:
            return Guess("/".join(folders[:depth]), "folder")
    if not stem:
        return Guess("/".join(folders) or ".", "folder")
    own = stem == stem_of(PurePosixPath(source).name)
    return Guess("/".join([*folders, stem]), "file" if own else "name")


def _folders(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for part in parts if _stripped(part))


def _stripped(stem: str) -> str:
    """A name without words at its end, or a sequence at its start, that do not distinguish patients."""
    tokens = [token for token in re.split(r"[_.\s]+|-(?=\D)|(?<=\D)-", stem) if token]
    rest = list(tokens)
    while rest:
        if WORD.fullmatch(rest[-1]):
            rest.pop()
        elif len(rest) > 2 and rest[-1].isdigit() and COUNTER.fullmatch(rest[-2]):
            del rest[-2:]
        else:
            break
    if not rest:
        return ""
    if len(rest) > 1 and SEQUENCE.fullmatch(rest[0]):
        return "_".join(rest[1:])
    return stem if rest == tokens else "_".join(rest)


def _channels(sources: Sequence[str]) -> set[str]:
    """The sources whose last four digits number a channel: starting at 0000, a few per case."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for source in sources:
        stem = stem_of(source)
        path = (PurePosixPath(source).parent / stem).as_posix()
        if number := CHANNEL.search(path):
            found[CHANNEL.sub("", path)][int(number[1])] = source
    return {
        source
        for same in found.values()
        if sorted(same) == list(range(len(same))) and len(same) <= MOST_CHANNELS
        for source in same.values()
    }


def _patient_folders(parts: Sequence[tuple[tuple[str, ...], str]]) -> set[tuple[str, ...]]:
    """The folders that each are one patient."""
    beside: dict[tuple[str, ...], set[str]] = defaultdict(set)
    stems: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for folders, stem in parts:
        for depth in range(len(folders)):
            beside[folders[:depth]].add(folders[depth])
            stems[folders[: depth + 1]].add(stem)
    found: set[tuple[str, ...]] = set()
    for above, names in beside.items():
        held = [stems[(*above, name)] for name in names]
        few = len(names) > 1 and len(set().union(*held)) < len(names)
        if few or _numbered_alike(names):
            found.update((*above, name) for name in names)
        found.update(
            (*above, name)
            for name, stem in zip(names, held, strict=True)
            if re.search(r"\d", name) and all(s.lower().startswith(name.lower()) for s in stem)
        )
    return found


def _numbered_alike(names: set[str]) -> bool:
    """`p1, p2, p3`; but not folds, sites or classes, nor a few folders that are one digit each."""
    patterns = {re.sub(r"\d+", "#", name) for name in names}
    (pattern,) = patterns if len(patterns) == 1 else ("",)
    if len(names) < 2 or "#" not in pattern or NO_PATIENTS.search(pattern):
        return False
    return pattern != "#" or max(map(len, names)) > 1
