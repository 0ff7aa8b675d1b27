"""Which label file belongs to which image."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medssl.data.read import reader
from medssl.data.scan.files import walk
from medssl.data.split import stem_of
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BIDS = re.compile(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?(?=_)")
BIDS_MASK = re.compile(r"_(mask|dseg)$")
CHANNEL = re.compile(r"_\d{4}$")  # nnU-Net names images case_0000, case_0001, ... and their label case


class Pattern(NamedTuple):
    """One `--pair`: the n-th * on both sides stands for the same text."""

    image: re.Pattern[str]
    label: re.Pattern[str]
    template: str
    text: str


class Folder(NamedTuple):
    """One `--labels`: the label files of a folder, by name without ending."""

    path: Path
    files: dict[str, list[Path]]

    def find(self, source: Path, name: str) -> Path | None:
        """The label of that name; of several, the one whose folders have the same names as the image's."""
        found = self.files.get(name) or self.files.get(CHANNEL.sub("", name)) or self._of_subject(name)
        if len(found) < 2:
            return found[0] if found else None
        alike = [file for file in found if _same_place(file.relative_to(self.path).parent, source.parent)]
        return alike[0] if len(alike) == 1 else None

    def _of_subject(self, name: str) -> list[Path]:
        """The BIDS masks of the subject (and session) of an image, whatever else their names say."""
        subject = _subject(name)
        masks = [stem for stem in self.files if subject and BIDS_MASK.search(stem) and _subject(stem) == subject]
        return [file for stem in masks for file in self.files[stem]]


def _subject(name: str) -> str:
    """Subject and session of a BIDS name, or nothing."""
    found = BIDS.match(name)
    return found[0] if found else ""


def folder(path: Path) -> Folder:
    """The NIfTI and image files in a folder. Raises `InputError` if there are none."""
    files: dict[str, list[Path]] = defaultdict(list)
    path = Path(os.path.abspath(path))
    for file in walk([path], ())[0]:
        if reader.by_name(file) != "dicom":
            files[stem_of(file.name)].append(file)
    if not files:
        raise InputError(f"{path} contains no labels (NIfTI, PNG, TIFF): --labels is the folder of the label files")
    return Folder(path, dict(files))


def pattern(text: str) -> Pattern:
    """Parse 'IMAGE_GLOB=LABEL_GLOB'. Raises `InputError`."""
    image, sign, label = text.partition("=")
    if not (image and sign and label) or image.count("*") != label.count("*"):
        raise InputError(
            f"--pair '{text}' must be 'IMAGE=LABEL' with as many * on each side, e.g. '*_image.nii.gz=*_mask.nii.gz'"
        )
    return Pattern(_compile(image), _compile(label), label, text)


def find(source: Path, names: Sequence[str], folders: Iterable[Folder], patterns: Iterable[Pattern]) -> Path | None:
    """The label of the image at `source` (a file, or the folder of a series) that may have any of `names`."""
    for place in folders:
        for name in names:
            if (label := place.find(source, name)) is not None:
                return label
    partners = (_partner(source, pair) for pair in patterns)
    return next((label for label in partners if label is not None and label.is_file()), None)


def is_label(path: Path, patterns: Iterable[Pattern]) -> bool:
    """Whether a file matches the label side of a pair."""
    return any(pair.label.fullmatch(path.as_posix()) for pair in patterns)


def _same_place(inner: Path, image: Path) -> bool:
    return inner != Path() and image.parts[-len(inner.parts) :] == inner.parts


def _partner(source: Path, pair: Pattern) -> Path | None:
    match = pair.image.fullmatch(source.as_posix())
    if match is None:
        return None
    texts = list(match.groups()[1:])
    filled = re.sub(r"\*+", lambda _: texts.pop(0), pair.template)
    return source.__class__((match.group(1) or "") + filled)


def _compile(glob: str) -> re.Pattern[str]:
    """A glob that may match the end of a path, starting at a folder; group 1 is what precedes it."""
    stars = {"**": "(.*)", "*": "([^/]*)", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", glob)
    return re.compile("(.*/)?" + "".join(stars.get(part) or re.escape(part) for part in parts))
