"""The rows of a manifest, with keyed hashes in place of identities."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from medssl.data.manifest import MODALITY_GUESSED, PATIENT_GUESSED, Row, keyed_hash
from medssl.data.scan import qc
from medssl.data.scan.files import relative
from medssl.data.split import stem_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medssl.data.scan.pairing import Image
    from medssl.data.scan.patients import Patients

BIDS_MODALITY = {"T1w": "MR", "T2w": "MR", "FLAIR": "MR", "bold": "MR", "dwi": "MR", "pet": "PT", "ct": "CT"}
DICOM_NAMES = {"PET": "PT", "XRAY": "DX"}  # as tables often spell them
MR_WORD = re.compile(r"MRI|T1.*|T2.*|FLAIR|DWI|ADC|PD")


class Identity:
    """Makes rows whose ids, patients, studies and series are hashes under one key; every row gets an id of its own."""

    def __init__(self, key: bytes, root: Path, modality: str | None = None) -> None:
        self.key, self.root, self.modality = key, root, modality
        self.ids: set[str] = set()

    def rows(self, images: Sequence[Image], patients: Patients, splits: Sequence[str]) -> list[Row]:
        """One row per image, in order; `qc` marks copies of an earlier image and guessed patients."""
        known = zip(images, patients.names, patients.guessed, splits, strict=True)
        rows = [self._row(*facts) for facts in known]
        copies = qc.twins([image.look.digest for image in images])
        notes = [(f"duplicate of {rows[copies[n]].id}",) if n in copies else () for n in range(len(rows))]
        return [replace(row, qc=(*row.qc, *note)) for row, note in zip(rows, notes, strict=True)]

    def relative(self, path: Path) -> str:
        """A path relative to the root."""
        return relative(path, self.root)

    def hash(self, kind: str, text: str) -> str:
        """The keyed hash of an identity, empty for an empty one."""
        return keyed_hash(self.key, kind, text) if text else ""

    def _row(self, image: Image, patient: str, guessed: bool, split: str) -> Row:
        candidate, record = image.candidate, image.record
        modality, modality_guessed = _modality(image, self.modality)
        guesses = {PATIENT_GUESSED: guessed, MODALITY_GUESSED: modality_guessed}
        return Row(
            id=self._id(modality, f"{candidate.series}|{candidate.part}" if candidate.series else self.source(image)),
            image=self.relative(candidate.files[0]),
            label=self.relative(image.label) if image.label else "",
            classes=record.classes if record else (),
            patient=self.hash("patient", patient),
            study=self.hash("study", candidate.study),
            series=self.hash("series", candidate.series),
            modality=modality,
            shape=image.look.shape,
            spacing=image.look.spacing,
            split=split,
            source=self.source(image),
            qc=(*candidate.notes, *image.look.notes, *(note for note, applies in guesses.items() if applies)),
        )

    def source(self, image: Image) -> str:
        """The path of an image, a file or the folder of a series, relative to the root."""
        return self.relative(image.candidate.source)

    def _id(self, modality: str, text: str) -> str:
        turn, name = 0, f"{modality.lower()}-{self.hash('image', text)}"
        while name in self.ids:
            turn += 1
            name = f"{modality.lower()}-{self.hash('image', f'{text}|{turn}')}"
        self.ids.add(name)
        return name


def _modality(image: Image, otherwise: str | None) -> tuple[str, bool]:
    """The modality, and whether it was guessed: from table, DICOM header, BIDS name or option, else from the values."""
    told = image.record.modality if image.record else ""
    if told:
        return _dicom_name(told), False
    if image.look.modality != "OT":
        return image.look.modality, False
    if known := BIDS_MODALITY.get(stem_of(image.candidate.source.name).rpartition("_")[2]):
        return known, False
    if otherwise:
        return _dicom_name(otherwise), False
    return ("CT", True) if image.look.ct_like else ("OT", False)


def _dicom_name(text: str) -> str:
    word = re.split(r"[^A-Za-z0-9]", text.upper())[0]
    return "MR" if MR_WORD.fullmatch(word) else DICOM_NAMES.get(word, word) or "OT"
