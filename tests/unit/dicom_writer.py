"""Small DICOM files for tests: one slice, picture or multi-frame object at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, CR, SC, SR = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "1", "7", "88.11"))
AXIAL = (1, 0, 0, 0, 1, 0)


def write(path: Path, pixels: np.ndarray | None, **tags: object) -> Path:
    """One file; pixels (Y,X), (F,Y,X) or RGB (Y,X,3)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID, data.PatientName = "CT", "patient-7", "Doe^Jane"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    if pixels is not None:
        _set_pixels(data, pixels)
    for name, value in tags.items():
        setattr(data, name, list(value) if isinstance(value, tuple) else value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def series(
    folder: Path, volume: np.ndarray, *, spacing=(2.5, 0.5, 0.8), origin=(-10, -20, 30), shear=0.0, each=None, **tags
):
    """One file a slice of volume (Z,Y,X); `each` holds tags with one value a slice. Returns the paths by slice."""
    paths = []
    for number, plane in enumerate(volume):
        own = {**tags, **{name: values[number] for name, values in (each or {}).items()}}
        place = [-10, -20 + number * spacing[0] * shear, 30 + number * spacing[0]]
        own = {"ImagePositionPatient": place, "ImageOrientationPatient": AXIAL, "InstanceNumber": number + 1, **own}
        name = f"{len(volume) - number:03d}"  # the order of names is not that of the slices, and there is no suffix
        paths.append(write(folder / name, plane, PixelSpacing=spacing[1:], **own))
    return paths


def enhanced(path: Path, volume: np.ndarray, heights: list[float], echoes: list[float], slopes: list[float]) -> Path:
    """One multi-frame file with all geometry in functional groups."""
    shared = _item(
        PixelMeasuresSequence=[_item(PixelSpacing=[0.5, 0.8])],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=AXIAL)],
    )
    frames = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, height])],
            MREchoSequence=[_item(EffectiveEchoTime=echo)],
            PixelValueTransformationSequence=[_item(RescaleSlope=slope, RescaleIntercept=0)],
        )
        for height, echo, slope in zip(heights, echoes, slopes, strict=True)
    ]
    return write(
        path,
        volume,
        Modality="MR",
        NumberOfFrames=len(volume),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )


def _item(**tags: object) -> Dataset:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, list(value) if isinstance(value, tuple) else value)
    return item


def _set_pixels(data: Dataset, pixels: np.ndarray) -> None:
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    data.Rows, data.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
