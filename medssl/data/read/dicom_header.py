"""What a DICOM header says about its slices (DICOM PS3.3: C.7.6.2 image plane, C.7.6.16 multi-frame)."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl.data.reject import NO_IMAGE_FORMAT, RATIO, UNPACKED, Rejected, brief

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

    from medssl.data.read.dicom_quick import QuickHeader

BARE = (b"\x08\x00", b"\x02\x00")  # first group of a DICOM file written without preamble
STACKED = ("CT", "MR", "PT")  # modalities that make volumes; all others are 2D images
NO_PIXELS = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "SR", "PR", "KO", "REG", "DOC", "AU", "ECG", "PLAN")
PICTURES = ("CR", "DX", "MG", "US", "XA", "RF", "ES", "GM", "XC", "OP", "IO", "PX", "SM", "NM", "OPT", "IVUS")
UIH_COUNT, UIH_FRAMES = (0x0065, 0x1050), (0x0065, 0x1051)  # private tags: number of tiles in a grid, one item per tile
FARTHEST = 1e6  # mm: no position in a scanner is farther from the origin
DEFLATED, HEAD, CHUNK = b"1.2.840.10008.1.2.1.99", 1024, 2**20
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


class Slice(NamedTuple):
    """One frame of one file; positions and directions in LPS mm as DICOM gives them."""

    path: Path
    frame: int
    frames: int  # frames in the file
    instance: str  # SOP instance UID
    series: str
    study: str
    patient: str
    modality: str
    size: tuple[int, int]  # rows, columns
    spacing: tuple[float, float] | None  # between rows, between columns
    row: tuple[float, ...]  # direction of growing column index; empty where unknown
    column: tuple[float, ...]  # direction of growing row index
    position: tuple[float, ...]  # centre of the first pixel
    reference: str  # frame of reference UID
    number: int  # instance number
    kinds: tuple[str, ...]  # kernel, stack, series number: the same in all slices of a volume
    marks: tuple[str, ...]  # what may distinguish volumes of one series, most specific first
    description: str  # of the series
    mosaic: bool
    burned_in: bool


def read_header(path: Path) -> Dataset:
    """The header of a DICOM file. Raises `Rejected` if the file is not DICOM, or contains no image."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    with path.open("rb") as stream:
        start = stream.read(132)
    if not start:
        raise Rejected("empty file", "0 bytes", path)
    if start[128:] != b"DICM" and start[:2] not in BARE:
        raise Rejected("not an image", NO_IMAGE_FORMAT, path)
    check_deflated(path)
    try:
        header = dcmread(path, stop_before_pixels=True, force=True)
        known = "SOPClassUID" in header
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError, struct.error) as error:
        raise Rejected("cannot be read", brief(error), path) from None
    if not known:
        raise Rejected("not an image", "no DICOM SOP class", path)
    return header


def check_deflated(path: Path) -> None:
    """Refuse a deflated file that inflates to far more than it holds, before it is inflated at once. Raises `Rejected`.

    Its stream begins after the file meta information, whose length is the value of the first element (PS3.10).
    """
    with path.open("rb") as stream:
        start = stream.read(HEAD)
        if start[128:132] != b"DICM" or DEFLATED not in start or start[132:136] != b"\x02\0\0\0":
            return
        stream.seek(144 + int.from_bytes(start[140:144], "little"))
        held, found, inflate = path.stat().st_size, 0, zlib.decompressobj(-zlib.MAX_WBITS)
        while (packed := inflate.unconsumed_tail or stream.read(CHUNK)) and found <= max(UNPACKED, RATIO * held):
            try:
                found += len(inflate.decompress(packed, CHUNK))
            except zlib.error as error:
                raise Rejected("cannot be read", brief(error), path) from None
    if found > max(UNPACKED, RATIO * held):
        raise Rejected("too large", f"{held / 2**20:.0f} MiB that unpack to over {found / 2**20:.0f} MiB", path)


def slices(header: Dataset | QuickHeader, path: Path) -> list[Slice]:
    """The slices in a file, in stored order. Raises `Rejected` if they cannot be part of an image."""
    _check(header, path)
    count = int(header.get("NumberOfFrames") or 1)
    if count < 1:
        raise Rejected("broken header", f"{count} frames", path)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if count > 1 and not groups:
        raise Rejected("multi-frame without positions", f"{count} frames", path)
    if groups and len(groups) != count:
        raise Rejected("cannot be read", f"{count} frames, positions for {len(groups)}", path)
    return [_slice(header, path, number, count) for number in range(count)]


def modality_of(header: Dataset | QuickHeader) -> str:
    """The modality, OT where it is not a word of capitals as PS3.3 C.7.3.1.1.1 has them: ids and file names hold it."""
    text = str(header.get("Modality") or "").strip().upper()
    return text if re.fullmatch("[A-Z]{2,10}", text) else "OT"


def uih_tiles(source: Dataset | QuickHeader) -> int | None:
    """The number of tiles of a UIH grid; None if the file is not such a grid, or has no tile positions."""
    kind = [str(word).upper() for word in source.get("ImageType") or []]
    if "VFRAME" not in kind or UIH_COUNT not in source or UIH_FRAMES not in source:
        return None
    try:
        count = int(source[UIH_COUNT].value)
    except (TypeError, ValueError):
        return None
    return count if count == len(source[UIH_FRAMES].value) > 1 else None


def frame_item(header: Dataset | QuickHeader, frame: int, sequence: str) -> Any:
    """The item of a functional group for one frame (its own, else the shared one), else the header itself."""
    for place in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        items = header.get(place) or []
        item = items[frame if place.startswith("Per") else 0] if len(items) else None
        found = item.get(sequence) if item is not None else None
        if found:
            return found[0]
    return header


def _check(header: Dataset | QuickHeader, path: Path) -> None:
    modality, kind = modality_of(header), [str(word).upper() for word in header.get("ImageType") or []]
    storage = str(header.SOPClassUID)
    if "Rows" not in header or modality in NO_PIXELS:
        raise Rejected("not an image", f"{header['SOPClassUID'].repval or storage}, modality {modality}", path)
    if any("LOCALIZER" in word or "SCOUT" in word for word in kind):
        raise Rejected("localizer", f"image type {'/'.join(kind)}", path)
    if storage.startswith(SECONDARY_CAPTURE) and modality not in PICTURES:
        raise Rejected("secondary capture", f"modality {modality}, image type {'/'.join(kind)}", path)
    if modality in STACKED and int(header.get("SamplesPerPixel") or 1) > 1:
        raise Rejected("colour image", f"modality {modality}, {header.get('PhotometricInterpretation')}", path)
    if "VFRAME" in kind and "ImagePositionPatient" not in header and uih_tiles(header) is None:
        raise Rejected("vendor mosaic", "UIH grid image: export it as one file per slice", path)


def _slice(header: Dataset | QuickHeader, path: Path, frame: int, count: int) -> Slice:
    plane = frame_item(header, frame, "PlaneOrientationSequence").get("ImageOrientationPatient")
    orientation = _numbers(plane, 6, path)
    modality = modality_of(header)
    position = _numbers(frame_item(header, frame, "PlanePositionSequence").get("ImagePositionPatient"), 3, path)
    grid = uih_tiles(header) is not None
    if modality in STACKED and not grid and not (orientation and position):
        raise Rejected("no slice position", "no image position or orientation", path)
    return Slice(
        path=path,
        frame=frame,
        frames=count,
        instance=str(header.get("SOPInstanceUID") or path),
        series=str(header.get("SeriesInstanceUID") or path.parent),
        study=str(header.get("StudyInstanceUID") or ""),
        patient=str(header.get("PatientID") or "").strip(),
        modality=modality,
        size=(int(header.Rows), int(header.Columns)),
        spacing=_spacing(header, frame, path),
        row=orientation[:3],
        column=orientation[3:],
        position=position,
        reference=str(header.get("FrameOfReferenceUID") or ""),
        number=int(header.get("InstanceNumber") or 0),
        kinds=_kinds(header, frame),
        marks=_marks(header, frame),
        description=str(header.get("SeriesDescription") or ""),
        mosaic=grid or "MOSAIC" in [str(word).upper() for word in header.get("ImageType") or []],
        burned_in=str(header.get("BurnedInAnnotation") or "").upper() == "YES",
    )


def _spacing(header: Dataset | QuickHeader, frame: int, path: Path) -> tuple[float, float] | None:
    measures = frame_item(header, frame, "PixelMeasuresSequence")
    found = _numbers(measures.get("PixelSpacing") or header.get("ImagerPixelSpacing"), 2, path)
    if not found or min(found) > 0:
        return (found[0], found[1]) if found else None
    raise Rejected("broken geometry", f"pixel spacing {found}", path)


def _kinds(header: Dataset | QuickHeader, frame: int) -> tuple[str, ...]:
    content = frame_item(header, frame, "FrameContentSequence")
    reconstruction = frame_item(header, frame, "CTReconstructionSequence")
    found = (
        reconstruction.get("ConvolutionKernel", header.get("ConvolutionKernel")),
        content.get("StackID"),
        header.get("SeriesNumber"),
    )
    return tuple("" if value is None else str(value) for value in found)


def _marks(header: Dataset | QuickHeader, frame: int) -> tuple[str, ...]:
    """Echo, image type, diffusion, time: in this order they are tried to separate slices at one position."""
    echo, content = frame_item(header, frame, "MREchoSequence"), frame_item(header, frame, "FrameContentSequence")
    diffusion = frame_item(header, frame, "MRDiffusionSequence")
    kind = frame_item(header, frame, "MRImageFrameTypeSequence")
    found = (
        echo.get("EffectiveEchoTime", header.get("EchoTime")),
        header.get("EchoNumbers"),
        kind.get("FrameType", header.get("ImageType")),
        diffusion.get("DiffusionBValue"),
        frame_item(diffusion, 0, "DiffusionGradientDirectionSequence").get("DiffusionGradientOrientation"),
        content.get("TemporalPositionIndex", header.get("TemporalPositionIdentifier")),
        header.get("TriggerTime"),
        header.get("AcquisitionNumber"),
        header.get("AcquisitionTime"),
        header.get("ContentTime"),
    )
    return tuple("" if value is None else str(value) for value in found)


def _numbers(value: Any, count: int, path: Path) -> tuple[float, ...]:
    if value is None or value == "":
        return ()
    try:
        found = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not all(abs(number) <= FARTHEST for number in found):
        raise Rejected("broken geometry", f"{count} numbers expected, found {str(value)[:60]}", path)
    return found
