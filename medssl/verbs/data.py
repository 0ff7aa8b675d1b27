"""`medssl scan`, `prepare` and `convert`: their options, and what they print at the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medssl import api
from medssl.data.presets import UNKNOWN
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.data.scan.scan import ScanResult

Out = Annotated[Path, typer.Option("--out", help="Where to write.")]
Manifest = Annotated[Path, typer.Argument(help="The manifest.csv that `scan` wrote.")]
Format = Literal["rsna", "nih", "vindr", "luna", "coco", "nndet"]
Modality = Literal["mr", "ct", "pet", "xray", "pathology", "ultrasound"]
# options of scan
Folders = Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of DICOM, NIfTI, PNG, JPEG or TIFF files.")]
Labels = Annotated[Path | None, typer.Option(help="Folder of label files that have the same names as the images.")]
Pair = Annotated[
    list[str] | None,
    typer.Option(help="Which label belongs to which image, e.g. '*_image.nii.gz=*_mask.nii.gz'."),
]
Table = Annotated[
    Path | None, typer.Option(help="CSV file with one row per image, or the list of another tool (docs/data.md).")
]
IdColumn = Annotated[str, typer.Option("--id", help="Column of the table with the file name or path.")]
Columns = Annotated[str | None, typer.Option(help="Which table column holds what, e.g. class=finding,patient=subject.")]
Boxes = Annotated[Path | None, typer.Option(help="File (nndet: folder) of boxes in the format of a public dataset.")]
BoxesAs = Annotated[Format | None, typer.Option(help="Format of --boxes; default: detected from its header.")]
PatientFrom = Annotated[
    str | None, typer.Option(help="Regular expression that finds the patient in a path, e.g. 'P[0-9]+'.")
]
ScannedModality = Annotated[
    str | None, typer.Option(help="Modality of images whose files do not state it, e.g. MR or CT.")
]
Split = Annotated[str | None, typer.Option(help="Divide the patients into train,val,test, e.g. 0.7,0.1,0.2.")]
Seed = Annotated[int, typer.Option(help="Seed of the split.")]
LargestBlock = Annotated[
    bool,
    typer.Option("--largest-block", help="Of a DICOM stack with gaps, keep the longest block of evenly spaced slices."),
]
Structures = Annotated[
    str | None,
    typer.Option(help="Class numbers of structures in DICOM SEG and RTSTRUCT, by name, e.g. 'GTV*=1,Heart=2'."),
]
Frames = Annotated[
    Literal["first", "mean", "each"] | None,
    typer.Option(help="Which time points of 4D NIfTI files become images."),
]
Key = Annotated[
    Path | None,
    typer.Option(
        help="Secret key that turns patient names into ids. Reuse the key of an earlier scan to get the same ids."
    ),
]
# options of prepare
Preset = Annotated[Modality, typer.Option(help="The kind of image.")]
Spacing = Annotated[
    str | None,
    typer.Option(help="Target spacing in mm, Z,Y,X or Y,X; isotropic, median, or 'like RUN'; default: as stored."),
]
Channels = Annotated[str | None, typer.Option(help="Co-registered series that become channels, e.g. FLAIR,T1.")]
LabelMap = Annotated[str | None, typer.Option(help="Which class number stored label values get, e.g. 255=1.")]
KeepSmall = Annotated[
    bool, typer.Option("--keep-small", help="Keep one voxel of label parts that resampling would lose.")
]
Rescale = Annotated[
    str | None, typer.Option(help="SLOPE,INTERCEPT to convert values of another unit, e.g. 1,-1024 for raw CT.")
]
N4 = Annotated[bool, typer.Option("--n4", help="Correct the shading of MR images with SimpleITK's N4.")]
PreparedModality = Annotated[str | None, typer.Option(help="Only images of this modality, e.g. CT.")]
MinSlices = Annotated[int | None, typer.Option(min=1, help="Only volumes with at least this many slices.")]
Description = Annotated[
    str | None, typer.Option(help="Only images whose series description or path fits this regular expression.")
]
Splits = Annotated[Path | None, typer.Option(help="JSON file, subset -> file names; written into the cache with ids.")]
Shard = Annotated[
    str | None, typer.Option(help="I/N: prepare only the I-th of N parts, e.g. 1/4 on the first of four machines.")
]
Workers = Annotated[str, typer.Option(help="Number of processes, or auto: one for each core, as far as memory allows.")]


def scan(
    folders: Folders,
    out: Out = Path("manifest.csv"),
    labels: Labels = None,
    pair: Pair = None,
    table: Table = None,
    id_column: IdColumn = "id",
    columns: Columns = None,
    boxes: Boxes = None,
    boxes_as: BoxesAs = None,
    patient_from: PatientFrom = None,
    modality: ScannedModality = None,
    split: Split = None,
    seed: Seed = 0,
    largest_block: LargestBlock = False,
    structures: Structures = None,
    frames: Frames = None,
    key: Key = None,
    workers: Workers = "auto",
) -> None:
    """Find the images in DIR. Writes manifest.csv (one row per image) and rejected.csv (why files were skipped)."""
    given: dict[str, Any] = {
        "labels": labels,
        "pair": pair or [],
        "table": table,
        "id": id_column,
        "columns": _pairs(columns),
        "boxes": boxes,
        "boxes_as": boxes_as,
    }
    given |= {"patient_from": patient_from, "modality": modality, "split": _numbers(split, "--split")}
    given |= {"largest_block": largest_block, "structures": _named_numbers(structures), "key": key}
    given |= {"frames": frames, "workers": _workers(workers)}
    _tell(api.scan(folders, out, seed=seed, **given), out)


def _tell(found: ScanResult, out: Path) -> None:
    """Print what was found, and why files were skipped."""
    kinds = Counter(row.modality for row in found.rows)
    listed = ", ".join(f"{n} {'of unknown modality' if kind == UNKNOWN else kind}" for kind, n in sorted(kinds.items()))
    print(f"{len(found.rows)} images ({listed}) -> {out}")
    for reason, number in Counter(left.reason for left in found.rejected).most_common():
        print(f"  skipped: {number} x {reason}")
    for notice in found.notices:
        print(f"  note: {notice}")


def prepare(
    manifest: Manifest,
    out: Out,
    preset: Preset,
    spacing: Spacing = None,
    channels: Channels = None,
    label_map: LabelMap = None,
    keep_small: KeepSmall = False,
    rescale: Rescale = None,
    n4: N4 = False,
    modality: PreparedModality = None,
    min_slices: MinSlices = None,
    description: Description = None,
    splits: Splits = None,
    shard: Shard = None,
    workers: Workers = "auto",
) -> None:
    """Orient, crop to the patient, resample and store every image as training reads it. Repeat to resume."""
    given: dict[str, Any] = {
        "spacing": spacing if spacing and spacing[0].isalpha() else _numbers(spacing, "--spacing"),
        "channels": channels.split(",") if channels else None,
    }
    given |= {"label_map": _whole_numbers(label_map), "keep_small": keep_small, "min_slices": min_slices}
    given |= {"rescale": _numbers(rescale, "--rescale"), "modality": modality, "description": description}
    given |= {"n4": n4, "splits": splits, "shard": _shard(shard)}
    given["workers"] = _workers(workers)
    cache = api.prepare(manifest, out, preset=preset, **given)
    print(f"{len(cache.ids)} images of {len(cache.patients)} patients -> {out}")
    if cache.waiting:
        print(f"  this part is done; {cache.waiting} images are still to be prepared by other parts (--shard)")
    for notice in cache.notices:
        print(f"  note: {notice}")


def convert(manifest: Manifest, out: Out) -> None:
    """Write each image of a manifest as NIfTI on its original grid."""
    written = api.convert(manifest, out)
    print(f"{len(written)} files -> {out}")


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{option} must be numbers separated by commas, such as 1,1,1, but '{text}' was given"
        ) from error


def _workers(text: str) -> int | None:
    """`auto` -> None, `4` -> 4."""
    if text == "auto":
        return None
    if not (text.isdigit() and int(text)):
        raise InputError(f"--workers must be auto, or a number of processes from 1 on, but '{text}' was given")
    return int(text)


def _shard(text: str | None) -> tuple[int, int] | None:
    """`2/4` -> (2, 4)."""
    number, sign, count = (text or "").partition("/")
    if text is None:
        return None
    if not (sign and number.isdigit() and count.isdigit()):
        raise InputError(f"--shard must be I/N with I from 1 to N, such as 1/4, but '{text}' was given")
    return int(number), int(count)


def _whole_numbers(text: str | None) -> dict[int, int]:
    """`255=1,7=2` -> {255: 1, 7: 2}."""
    pairs = [part.split("=") for part in text.split(",")] if text else []
    try:
        return {int(old): int(new) for old, new in pairs}
    except ValueError:
        raise InputError(
            f"--label-map must be of the form 255=1,7=2 (stored value=class number), but '{text}' was given"
        ) from None


def _named_numbers(text: str | None) -> dict[str, int] | None:
    """`GTV*=1,Heart=2` -> {"GTV*": 1, "Heart": 2}."""
    pairs = [part.rpartition("=") for part in text.split(",")] if text else []
    if any(not (name.strip() and number.strip().isdigit() and int(number)) for name, _, number in pairs):
        raise InputError(
            f"--structures must be of the form 'GTV*=1,Heart=2' (name=class number), but '{text}' was given"
        )
    return {name.strip(): int(number) for name, _, number in pairs} or None


def _pairs(text: str | None) -> dict[str, str]:
    """`class=finding,patient=subject` -> {"class": "finding", "patient": "subject"}."""
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    if any(not (name and sign and column) for name, sign, column in pairs):
        raise InputError(f"--columns must be of the form class=finding,patient=subject, but '{text}' was given")
    twice = [name for name, count in Counter(name for name, _, _ in pairs).items() if count > 1]
    if twice:
        raise InputError(f"--columns names {twice[0]} twice ('{text}'): give one column for each")
    return {name: column for name, _, column in pairs}
