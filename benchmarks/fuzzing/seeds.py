"""Small sound files that the fuzz mutates: DICOM of several kinds, NIfTI, pictures."""

from __future__ import annotations

import gzip
import io
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

SIDE = 24
STORAGE = "1.2.840.10008.5.1.4.1.1."


def dicoms(rng: np.random.Generator, folder: int) -> list[bytes]:
    """A CT of six slices, an MR of six with implicit value representations, RLE, multi-frame, colour, X-ray.

    `folder` numbers study and series, so that those of two folders are no copies.
    """
    found = _dicoms(rng)
    for data in found:
        data.StudyInstanceUID += f".{folder}"
        data.SeriesInstanceUID += f".{folder}"
        data.PatientID = f"P{folder}"
    return [_bytes(data) for data in found]


def _dicoms(rng: np.random.Generator) -> list[FileDataset]:
    ct = [_slice(rng, number, Modality="CT", RescaleIntercept=-1024, RescaleSlope=1) for number in range(6)]
    mr = [_slice(rng, number, "4", ImplicitVRLittleEndian, Modality="MR", EchoTime=30) for number in range(6)]
    packed = _slice(rng, 0, "2", RLELossless, Modality="CT")
    film = _slice(rng, 0, "1", Modality="CR", ImagePositionPatient=None, ImageOrientationPatient=None)
    return [*ct, *mr, packed, film, _colour(rng), _frames(rng)]


def others(rng: np.random.Generator) -> dict[str, bytes]:
    """By ending: NIfTI of several types, packed and not, and pictures."""
    found = {}
    for kind in (np.int16, np.uint8, np.float32):
        values = (rng.random((12, 14, 10)) * 200).astype(kind)
        plain = nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])).to_bytes()
        found[f"{kind.__name__}.nii"] = plain
        found[f"{kind.__name__}.nii.gz"] = gzip.compress(plain)
    found["two.nii"] = nibabel.Nifti2Image((rng.random((9, 9, 9)) * 99).astype(np.int16), np.eye(4)).to_bytes()
    gray, colour = (rng.integers(0, 256, (SIDE, SIDE, *more), np.uint8) for more in ((), (3,)))
    for ending, mode in (("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF"), ("bmp", "BMP")):
        for name, pixels in (("gray", gray), ("colour", colour)):
            found[f"{name}.{ending}"] = _picture(pixels, mode)
    found["deep.png"] = _picture(rng.integers(0, 2**16, (SIDE, SIDE), np.uint16), "PNG")
    return found


def _picture(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def _slice(
    rng: np.random.Generator, number: int, kind: str = "2", syntax: str = ExplicitVRLittleEndian, **tags: Any
) -> FileDataset:
    data = _empty(kind, ExplicitVRLittleEndian if syntax == RLELossless else syntax)
    data.SeriesInstanceUID = f"2.25.{kind}{1 if syntax == RLELossless else 0}"
    data.Rows = data.Columns = SIDE
    data.InstanceNumber, data.PixelSpacing = number + 1, [0.7, 0.7]
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 2.5 * number], [1, 0, 0, 0, 1, 0]
    data.PixelData = rng.integers(0, 4096, (SIDE, SIDE), np.uint16).tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    if syntax == RLELossless:
        data.compress(RLELossless)
    return data


def _colour(rng: np.random.Generator) -> FileDataset:
    data = _empty("6.1", ExplicitVRLittleEndian)
    data.Modality, data.Rows, data.Columns, data.SamplesPerPixel = "US", SIDE, SIDE, 3
    data.PhotometricInterpretation, data.PlanarConfiguration = "RGB", 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelData = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8).tobytes()
    return data


def _frames(rng: np.random.Generator) -> FileDataset:
    data = _empty("4.1", ExplicitVRLittleEndian)
    data.Modality, data.Rows, data.Columns, data.NumberOfFrames = "MR", SIDE, SIDE, 4
    data.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[_item(PixelSpacing=[1, 1])],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [
        _item(PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, 3 * number])]) for number in range(4)
    ]
    data.PixelData = rng.integers(0, 999, (4, SIDE, SIDE), np.uint16).tobytes()
    return data


def _empty(kind: str, syntax: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, STORAGE + kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID = "P1", "2.25.7", f"2.25.{kind.replace('.', '')}"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    return data


def _item(**tags: Any) -> Dataset:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def _bytes(data: FileDataset) -> bytes:
    stream = io.BytesIO()
    dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()
