"""Which images belong to which patient: from a table, headers or --patient-from, else guessed from labels and names."""

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
FEW_STUDIES = 3  # from this many studies on, a PatientID shared by all of them is a placeholder of an anonymiser
TOLD = ("table", "DICOM header", "BIDS subject", "--patient-from")
SHOWN = 3


class Patients(NamedTuple):
    """The patient of each image, by name, and the rule that named it."""

    names: list[str]
    rules: list[str]

    @property
    def guessed(self) -> list[bool]:
        """Whether each one was guessed."""
        return [rule not in TOLD for rule in self.rules]


def pattern(text: str | None) -> re.Pattern[str] | None:
    """The regular expression of --patient-from. Raises `InputError`."""
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"--patient-from '{text}' is not a regular expression: {error}") from None


def assign(images: Sequence[Image], sources: Sequence[str], wanted: re.Pattern[str] | None = None) -> Patients:
    """Find the patients of `images`, whose paths relative to the root are `sources`.

    The first of these that applies: the table's column, the DICOM PatientID (unless it is a placeholder), the BIDS
    subject, what `wanted` finds in the path (its first group if it has one), the study, a label that images share, and
    a guess from the names of files and folders. An image beside DICOM series of one patient belongs to that patient.
    Raises `InputError` if `wanted` matches no path.
    """
    constant = _constant(images)
    told = [_told(image, source, wanted, constant) for image, source in zip(images, sources, strict=True)]
    if wanted is not None and not any(wanted.search(source) for source in sources):
        raise InputError(f"--patient-from '{wanted.pattern}' matches no path (one is {sources[0]}): correct it")
    guesses = dict(zip(_untold(told, sources), names.guess(_untold(told, sources)), strict=True))
    beside = _dicom_folders(images, sources, told)
    found = [
        known or _beside(guesses[source].name, beside) or (guesses[source].name, guesses[source].rule)
        for known, source in zip(told, sources, strict=True)
    ]
    return _sharing_labels(images, found)


def sentences(found: Patients, sources: Sequence[str], images: Sequence[Image]) -> list[str]:
    """Notices about how patients were identified, with examples of guesses."""
    lines = []
    if _constant(images):
        lines.append(
            "all studies have the same PatientID, taken for a placeholder, so each study counts as a patient: if "
            "that is wrong, give --patient-from 'REGEX' or a table with a column `patient`"
        )
    guessed = [place for place, guess in enumerate(found.guessed) if guess]
    if guessed:
        shown = "; ".join(f"{sources[place]} -> {found.names[place]}" for place in _different(guessed, found.names))
        count = len({found.names[place] for place in guessed})
        lines.append(
            f"{len(guessed)} images name no patient: {count} patients were guessed from labels and names ({shown}): "
            "if that is wrong, give --patient-from 'REGEX' or a table with a column `patient`"
        )
    return lines


def _different(guessed: Sequence[int], found: Sequence[str]) -> list[int]:
    """Indices of a few images, of different patients if there are any."""
    first = {found[place]: place for place in reversed(guessed)}
    return sorted(first.values())[:SHOWN]


def _told(image: Image, source: str, wanted: re.Pattern[str] | None, constant: str | None) -> tuple[str, str] | None:
    """The patient that a table, header, path or study names, and the rule."""
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
    """The PatientID that all DICOM images share although they belong to several studies."""
    headers = [image.candidate for image in images if image.candidate.study]
    ids = {candidate.patient for candidate in headers}
    several = len({candidate.study for candidate in headers}) >= FEW_STUDIES
    return next(iter(ids)) if len(ids) == 1 and several else None


def _dicom_folders(
    images: Sequence[Image], sources: Sequence[str], told: Sequence[tuple[str, str] | None]
) -> dict[str, tuple[str, str]]:
    """Folders with DICOM series of a single patient -> that patient."""
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
    """Images that share a label file belong to one patient, unless they are named otherwise."""
    users = Counter(image.label for image in images if image.label)
    first: dict[object, str] = {}
    merged: dict[str, str] = {}
    for image, (name, rule) in zip(images, found, strict=True):
        if rule not in TOLD and image.label and users[image.label] > 1:
            merged[name] = first.setdefault(image.label, merged.get(name, name))
    shared = [merged.get(name, name) if rule not in TOLD else name for name, rule in found]
    rules = ["shared label" if name in merged and rule not in TOLD else rule for name, rule in found]
    return Patients(shared, rules)
