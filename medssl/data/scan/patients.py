"""Who is a patient: what a table, the header or the user says, else what labels and names suggest."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from medssl.data.scan import names
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.scan.pairing import Image

BIDS_SUBJECT = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)(?=[_/.]|$)")
PLACEHOLDER = re.compile(
    r"anon\w*|no ?name|unknown|none|null|n/?a|nan|test|patient|subject|dummy|removed|hidden|deleted|"
    r"de-?identified|pseudonym\w*|x+|0+|\W*",
    re.IGNORECASE,
)
FEW_STUDIES = 3  # from which one PatientID in all of a scan is no patient, but what an anonymiser left
TOLD = ("table", "DICOM header", "BIDS subject", "--patient-from")
SHOWN = 3


class Patients(NamedTuple):
    """The patient of each image, by name, and the rule that told."""

    names: list[str]
    rules: list[str]

    @property
    def guessed(self) -> list[bool]:
        """Whether each was guessed."""
        return [rule not in TOLD for rule in self.rules]


def pattern(text: str | None) -> re.Pattern[str] | None:
    """The regular expression of --patient-from. Raises `InputError`."""
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"--patient-from '{text}' is no regular expression: {error}") from None


def assign(images: Sequence[Image], sources: Sequence[str], wanted: re.Pattern[str] | None = None) -> Patients:
    """The patients of `images`, which lie at `sources` (paths relative to the root).

    In this order: the table's column, the PatientID of DICOM (unless it is a placeholder), the BIDS subject, what
    `wanted` finds in the path (its first group if it has one), the study, a label that images share, and what names of
    files and folders suggest; an image beside the DICOM series of one patient is of that patient. Raises `InputError`
    where `wanted` fits no path.
    """
    constant = _constant(images)
    told = [_told(image, source, wanted, constant) for image, source in zip(images, sources, strict=True)]
    if wanted is not None and not any(wanted.search(source) for source in sources):
        raise InputError(f"--patient-from '{wanted.pattern}' fits no path, such as {sources[0]}: give one that does")
    guesses = dict(zip(_untold(told, sources), names.guess(_untold(told, sources)), strict=True))
    beside = _dicom_folders(images, sources, told)
    found = [
        known or _beside(guesses[source].name, beside) or (guesses[source].name, guesses[source].rule)
        for known, source in zip(told, sources, strict=True)
    ]
    return _sharing_labels(images, found)


def sentences(found: Patients, sources: Sequence[str], images: Sequence[Image]) -> list[str]:
    """How patients were told apart, on one line, with examples of what was guessed."""
    lines = []
    if _constant(images):
        lines.append(
            "all studies carry one PatientID, which therefore counts as a placeholder: each study is a patient; if "
            "they are one patient, or to tell them apart otherwise, give --patient-from or a table"
        )
    guessed = [place for place, guess in enumerate(found.guessed) if guess]
    if guessed:
        shown = "; ".join(f"{sources[place]} -> {found.names[place]}" for place in _different(guessed, found.names))
        count = len({found.names[place] for place in guessed})
        lines.append(
            f"{len(guessed)} images name no patient: {count} patients were guessed from labels and names ({shown}); "
            "if that is wrong, give --patient-from 'REGEX' or a table with a column `patient`"
        )
    return lines


def _different(guessed: Sequence[int], found: Sequence[str]) -> list[int]:
    """Places of a few images, of different patients if there are any."""
    first = {found[place]: place for place in reversed(guessed)}
    return sorted(first.values())[:SHOWN]


def _told(image: Image, source: str, wanted: re.Pattern[str] | None, constant: str | None) -> tuple[str, str] | None:
    """The patient that somebody named, and by which rule."""
    header = image.candidate.patient
    if image.record and image.record.patient:
        return image.record.patient, "table"
    if header and header != constant and not PLACEHOLDER.fullmatch(header):
        return header, "DICOM header"
    if subject := BIDS_SUBJECT.search(source):
        return subject[1], "BIDS subject"
    if wanted is not None and (match := wanted.search(source)):
        name = next((group for group in match.groups() if group), match[0])
        return name, "--patient-from"
    return (image.candidate.study, "study") if image.candidate.study else None


def _untold(told: Sequence[tuple[str, str] | None], sources: Sequence[str]) -> list[str]:
    return [source for known, source in zip(told, sources, strict=True) if known is None]


def _constant(images: Sequence[Image]) -> str | None:
    """A PatientID that all DICOM images of several studies share."""
    headers = [image.candidate for image in images if image.candidate.study]
    ids = {candidate.patient for candidate in headers}
    several = len({candidate.study for candidate in headers}) >= FEW_STUDIES
    return next(iter(ids)) if len(ids) == 1 and several else None


def _dicom_folders(
    images: Sequence[Image], sources: Sequence[str], told: Sequence[tuple[str, str] | None]
) -> dict[str, tuple[str, str]]:
    """The folders of DICOM series of one patient only -> that patient."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for image, source, known in zip(images, sources, told, strict=True):
        if image.candidate.series and known and (folder := names.folder_of(source)):
            found[folder].add(known)
    return {folder: next(iter(known)) for folder, known in found.items() if len(known) == 1}


def _beside(name: str, folders: dict[str, tuple[str, str]]) -> tuple[str, str] | None:
    parts = name.split("/")
    for depth in range(len(parts), 0, -1):
        if known := folders.get("/".join(parts[:depth])):
            return known[0], "beside DICOM"
    return None


def _sharing_labels(images: Sequence[Image], found: Sequence[tuple[str, str]]) -> Patients:
    """Images of one label file are one patient, unless somebody named another."""
    users = Counter(image.label for image in images if image.label)
    first: dict[object, str] = {}
    merged: dict[str, str] = {}
    for image, (name, rule) in zip(images, found, strict=True):
        if rule not in TOLD and image.label and users[image.label] > 1:
            merged[name] = first.setdefault(image.label, merged.get(name, name))
    shared = [merged.get(name, name) if rule not in TOLD else name for name, rule in found]
    rules = ["shared label" if name in merged and rule not in TOLD else rule for name, rule in found]
    return Patients(shared, rules)
