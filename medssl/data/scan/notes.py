"""What a scan reports besides its rows: skipped files, and what looks odd."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from medssl.data.manifest import MODALITY_GUESSED, UNCERTAIN
from medssl.data.reject import NO_IMAGE_FORMAT
from medssl.data.split import NAMES, stem_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medssl.data.manifest import Row
    from medssl.data.scan.files import Refused
    from medssl.data.scan.pairing import Image, Sources


class SkippedFile(NamedTuple):
    """A file that belongs to no image of the manifest, or all files of one other type (`*.json`)."""

    source: str
    reason: str
    detail: str


def rejected(files: Sequence[SkippedFile]) -> list[SkippedFile]:
    """The skipped files; those whose type is not an image format take one line per type."""
    kinds: dict[str, list[SkippedFile]] = defaultdict(list)
    for file in files:
        suffix = PurePosixPath(file.source).suffix
        kinds[suffix if suffix and file.detail == NO_IMAGE_FORMAT else ""].append(file)
    single = [file for kind, same in kinds.items() for file in same if not kind or len(same) == 1]
    several = [
        SkippedFile(f"*{kind}", same[0].reason, f"{len(same)} files, such as {same[0].source}")
        for kind, same in kinds.items()
        if kind and len(same) > 1
    ]
    return sorted([*single, *several])


def about(images: Sequence[Image], given: Sources, refused: Sequence[Refused]) -> list[str]:
    """Notices about labels and tables."""
    masks = sum(reason == "looks like a mask" for _, reason, _ in refused)
    labelled = [image for image in images if image.label is not None]
    joined = sum(image.record is not None for image in images)
    records = sum(len(same) for same in given.table.records.values()) if given.table else 0
    notices = {
        f"{masks} files look like masks and were skipped: if they are labels, give --labels, --pair or --table": masks,
        f"{len(labelled)} of {len(images)} images have a label": given.give_labels,
        f"{joined} of {len(images)} images have a row in the table; {records - joined} rows match none": given.table,
    }
    said = [text for text, applies in notices.items() if applies]
    said += list(given.table.notices) if given.table else []
    return [*said, *_unused_labels(images, refused), *_ambiguous(images), *_values(labelled)]


def of_rows(rows: Sequence[Row]) -> list[str]:
    """Notices about geometry, modality and classes."""
    return [*of_geometry(rows), *of_modality(rows), *of_parts(rows)]


def of_modality(rows: Sequence[Row]) -> list[str]:
    """Notices about guessed and unknown modalities."""
    guessed = sum(MODALITY_GUESSED in row.qc for row in rows)
    unknown = sum(row.modality == "OT" for row in rows)
    said = (
        [f"{guessed} images are taken for CT because of their values: give --modality if they are not"]
        if guessed
        else []
    )
    return said + (
        [f"the modality of {unknown} images is unknown: give --modality, or a table with a column `modality`"]
        if unknown
        else []
    )


def of_geometry(rows: Sequence[Row]) -> list[str]:
    """Images whose grid was mended or is odd; column `qc` says which, with the numbers."""
    mended = {
        "tilt": "of a tilted gantry were straightened",
        "uneven": "have uneven slices, interpolated to even ones (`scan --largest-block` keeps the largest even block)",
        "pixdim": "have voxel sizes that are negative, or not those of their sform, which was used",
        "sform": "have two forms that differ",
        "odd spacing": "have an odd spacing",
        "unit": "were not in mm, and their unit was obeyed",
    }
    counts = {start: sum(any(note.startswith(start) for note in row.qc) for row in rows) for start in mended}
    return [f"{counts[start]} images {text}: see column qc" for start, text in mended.items() if counts[start]]


def of_parts(rows: Sequence[Row]) -> list[str]:
    """Notices about classes missing from a split, and about splits with other names."""
    held: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        held[row.split].update(name for name in row.classes if not name.endswith(UNCERTAIN))
    everything = sorted(set().union(*held.values())) if held else []
    named = [name for name in NAMES if name in held]
    said = [
        f"{name} has no case of {', '.join(missing)}"
        for name in named
        if (missing := [label for label in everything if label not in held[name]])
    ]
    own = Counter(row.split for row in rows if row.split not in (*NAMES, ""))
    return said + [
        f"{count} images have the split '{name}', not one of {', '.join(NAMES)}: pretraining uses every split but test"
        for name, count in own.items()
    ]


def _unused_labels(images: Sequence[Image], refused: Sequence[Refused]) -> list[str]:
    unused = [path for path, reason, _ in refused if reason == "label without image"]
    if not unused:
        return []
    example, advice = unused[0], "pair them with --pair 'IMAGE=LABEL'"
    for image in images:
        source = image.candidate.source
        stem, label = stem_of(source.name), stem_of(example.name)
        if stem and stem in label and image.label is None:
            advice = f"pair them with --pair '{_glob(source, stem)}={_glob(example, stem)}'"
            break
    return [f"{len(unused)} labels match no image, such as {example.parent.name}/{example.name}: {advice}"]


def _glob(path: Path, stem: str) -> str:
    return f"{path.parent.name}/{path.name.replace(stem, '*', 1)}"


def _ambiguous(images: Sequence[Image]) -> list[str]:
    lost = [image.candidate.source for image in images if image.lost]
    if not lost:
        return []
    shown = " and ".join(f"{path.parent.name}/{path.name}" for path in lost[:2])
    return [
        f"{len(lost)} images of one name in several folders, such as {shown}, match the same label, so none of them "
        "got it: put the labels in folders of the same names, or pair them with --pair or --table"
    ]


def _values(labelled: Sequence[Image]) -> list[str]:
    """Notices about empty labels, and about label values with gaps."""
    known = [image.values for image in labelled if image.values]
    empty = sum(values == (0,) for values in known)
    said = [f"{empty} of {len(labelled)} labels are empty (background only)"] if empty else []
    values = sorted({value for values in known for value in values} | {0})
    if known and len(known) == len(labelled) and len(values) > 1 and values != list(range(len(values))):
        mapping = ",".join(f"{value}={place}" for place, value in enumerate(values) if value != place)
        listed = ", ".join(map(str, values))
        said.append(
            f"the label values are {listed}: `medssl prepare --label-map {mapping}` makes them 0 to {len(values) - 1}"
        )
    return said
