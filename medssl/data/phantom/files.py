"""CT phantoms as files such as users have: DICOM series, NIfTI files, labels, and files that are not images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medssl.data.phantom.volumes import LESIONS, ct_case
from medssl.data.read import nifti

INTERCEPT = -1024
TILT = 4.0  # degrees: every second DICOM series is oblique
TO_LPS = np.diag([-1.0, -1.0, 1.0])  # DICOM counts toward Left, Posterior, Superior


def write_ct_dataset(folder: str | Path, cases: int, size: tuple[int, ...] = (48, 64, 64), seed: int = 0) -> None:
    """Write CT phantoms as files such as users have, with two files that are not images.

    Even cases are NIfTI (`images/case_000.nii.gz`), odd cases DICOM series (`images/case_001/*.dcm`, every second one
    oblique, one patient each); labels are `labels/case_NNN.nii.gz`.
    """
    images, labels = Path(folder) / "images", Path(folder) / "labels"
    for made in (images, labels):
        made.mkdir(parents=True, exist_ok=True)
    for index in range(cases):
        image, label = ct_case(np.random.default_rng([seed, index]), size, LESIONS["ct"][index % 2])
        name, place = f"case_{index:03d}", affine(size, TILT if index % 4 == 3 else 0.0)
        nifti.write(labels / f"{name}.nii.gz", label, place)
        if index % 2:
            write_series(images / name, image, place, f"PHANTOM-{seed}-{index:03d}", seed)
        else:
            nifti.write(images / f"{name}.nii.gz", image, place)
    whole = (images / "case_000.nii.gz").read_bytes()
    (images / "broken.nii.gz").write_bytes(whole[: len(whole) // 3])
    (images / "notes.txt").write_text("Phantoms, made from a seed. No patient was scanned.\n")


def affine(size: tuple[int, ...], tilt: float, extent: float = 360.0) -> np.ndarray:
    """Index (z,y,x) -> RAS mm of a volume centred at the origin, largest side `extent` mm, tilted by `tilt` degrees."""
    mm = extent / max(size)
    angle = np.deg2rad(tilt)
    about_right = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    columns = np.array([[0, 0, 1.0], [0, 1.0, 0], [1.0, 0, 0]])  # z, y, x as R, A, S
    matrix = np.eye(4)
    matrix[:3, :3] = about_right @ columns * mm
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(size) - 1) / 2)
    return matrix


def write_series(folder: Path, array: np.ndarray, place: np.ndarray, patient: str, seed: int) -> None:
    """Write HU (Z,Y,X), axes toward S, A, R, as a series with rows to the Left and columns to Posterior."""
    folder.mkdir(parents=True, exist_ok=True)
    uids = {part: str(generate_uid(entropy_srcs=[part, patient, str(seed)])) for part in ("study", "series", "frame")}
    pixels = np.clip(array.astype(np.int32) - INTERCEPT, 0, 4095).astype(np.uint16)[:, ::-1, ::-1]
    last = np.array(array.shape) - 1
    for z in range(array.shape[0]):
        uid = generate_uid(entropy_srcs=[patient, str(seed), str(z)])
        corner = TO_LPS @ (place @ [z, last[1], last[2], 1])[:3]
        slice_ = _header(uid, patient, uids)
        slice_.InstanceNumber = z + 1
        slice_.ImagePositionPatient = [round(float(v), 6) for v in corner]
        _geometry(slice_, place)
        slice_.Rows, slice_.Columns = pixels.shape[1:]
        slice_.PixelData = pixels[z].tobytes()
        slice_.save_as(folder / f"{z + 1:04d}.dcm", enforce_file_format=True)


def _header(uid: str, patient: str, uids: dict[str, str]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    head.SOPClassUID, head.SOPInstanceUID, head.Modality = CTImageStorage, uid, "CT"
    head.PatientID, head.PatientName, head.PatientSex, head.PatientAge = patient, "Phantom^Made up", "O", "050Y"
    head.PatientBirthDate, head.StudyDate, head.StudyTime, head.StudyID = "", "20000101", "000000", "1"
    head.StudyInstanceUID, head.SeriesInstanceUID = uids["study"], uids["series"]
    head.FrameOfReferenceUID, head.SeriesNumber = uids["frame"], 1
    head.ImageType, head.SeriesDescription = ["DERIVED", "PRIMARY", "AXIAL"], "phantom abdomen"
    head.SamplesPerPixel, head.PhotometricInterpretation = 1, "MONOCHROME2"
    head.BitsAllocated, head.BitsStored, head.HighBit, head.PixelRepresentation = 16, 12, 11, 0
    head.RescaleIntercept, head.RescaleSlope, head.RescaleType = INTERCEPT, 1, "HU"
    head.WindowCenter, head.WindowWidth = 40, 400
    return head


def _geometry(head: pydicom.Dataset, place: np.ndarray) -> None:
    columns = TO_LPS @ place[:3, :3]  # steps of z, y, x in mm toward L, P, S
    down, along = -columns[:, 1], -columns[:, 2]  # rows are written front to back, columns right to left
    spacing = [float(np.linalg.norm(step)) for step in (columns[:, 0], down, along)]
    cosines = [*(along / spacing[2]), *(down / spacing[1])]
    head.ImageOrientationPatient = [round(float(value), 8) for value in cosines]
    head.PixelSpacing = [round(spacing[1], 6), round(spacing[2], 6)]
    head.SliceThickness = head.SpacingBetweenSlices = round(spacing[0], 6)
