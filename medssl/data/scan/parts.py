"""The split of each image: from folder names and tables, else by shares of the patients."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from medssl.data.fingerprint import near_copies
from medssl.data.scan import qc
from medssl.data.split import by_patient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.scan.pairing import Image

FEW, MOST = 3, 0.2  # largest number of patients in a group of near-copies: this many, or this share of all
FOLDERS = {  # folder names that mean a split
    **dict.fromkeys(("imagests", "test", "testing"), "test"),
    **dict.fromkeys(("imagesval", "val", "valid", "validation"), "val"),
    **dict.fromkeys(("train", "training"), "train"),
}


def divide(
    images: Sequence[Image],
    sources: Sequence[str],
    patients: Sequence[str],
    shares: Sequence[float] | None,
    seed: int,
) -> tuple[list[str], list[str]]:
    """The split of each image, and notices. `patients` are names, not hashes, so that another key gives the same split.

    Images in a folder called test, imagesTs, val or train get that split, unless the table gives one. With `shares`,
    images in a test folder stay in the test, and all other patients are divided by the shares.
    """
    told = [image.record.split if image.record else "" for image in images]
    folders = ["" if name else _of_folder(source) for name, source in zip(told, sources, strict=True)]
    notices = []
    if count := sum(map(bool, folders)):
        notices.append(f"{count} images get their split from the name of their folder (test, imagesTs, val, train)")
    if shares is None:
        return [name or folder for name, folder in zip(told, folders, strict=True)], notices
    if any(told):
        notices.append("the split column of the table was ignored because --split was given")
    together, said = _kept_together(patients, images)
    notices += said
    tested = {patient for patient, folder in zip(together, folders, strict=True) if folder == "test"}
    others = [patient for patient in together if patient not in tested]
    found = dict(zip(others, by_patient(others, shares, seed), strict=True))
    return [found.get(patient, "test") for patient in together], notices


def _of_folder(source: str) -> str:
    names = [FOLDERS[part.lower()] for part in PurePosixPath(source).parts[:-1] if part.lower() in FOLDERS]
    return names[-1] if names else ""


def _kept_together(patients: Sequence[str], images: Sequence[Image]) -> tuple[list[str], list[str]]:
    """The patient of each image; patients who share an image or a near-copy of it count as one.

    Similar images of very many patients are not copies but one kind of scan: they are not merged, and a notice says so.
    """
    same = {patient: patient for patient in patients}

    def first(patient: str) -> str:
        while same[patient] != patient:
            patient = same[patient]
        return patient

    groups: dict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(near_copies([image.look.print for image in images])):
        groups[group].append(place)
    everyone, near, alike = len(same), 0, 0
    for members in groups.values():
        whose = {patients[place] for place in members}
        if len(whose) > max(FEW, MOST * everyone):
            alike += len(members)
            continue
        near += len(members) if len(whose) > 1 else 0
        for place in members:
            same[first(patients[place])] = first(patients[members[0]])
    for copy, original in qc.twins([image.look.digest for image in images]).items():
        same[first(patients[copy])] = first(patients[original])
    said = {
        f"{near} images are near-copies of one another under several names: each group stays within one split": near,
        f"{alike} images look alike, but are too many to be copies: the split does not keep them together": alike,
    }
    return [first(patient) for patient in patients], [text for text, applies in said.items() if applies]
