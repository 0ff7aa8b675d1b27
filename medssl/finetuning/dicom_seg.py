"""Reported lesions as a DICOM Segmentation of their series, by highdicom (`pip install medssl[seg]`).

It holds the patient's identity, as the standard asks, and belongs where the series is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom

from medssl import __version__
from medssl.data import files
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medssl.metrics.lesions import Candidate


EMPTY = [
    *("AccessionNumber", "ReferringPhysicianName", "StudyID", "StudyDate", "StudyTime", "PositionReferenceIndicator"),
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
]


def needed() -> Any:
    """The library. Raises `InputError` where it is not installed."""
    try:
        import highdicom
    except ModuleNotFoundError as error:
        raise InputError("--seg needs highdicom, which is not installed: pip install 'medssl[seg]'") from error
    return highdicom


def _header(file: Path) -> pydicom.Dataset:
    """The header of a slice, with the elements that may be empty and that anonymised files often lack."""
    head = pydicom.dcmread(file, stop_before_pixels=True)
    for name in EMPTY:
        if name not in head:
            setattr(head, name, "")
    return head


def write(path: Path, series: Sequence[Path], mask: np.ndarray, found: Sequence[Candidate]) -> None:
    """Write the numbered lesions of a mask (Z,Y,X), or (Y,X), on the grid of the single-frame files of a `series`."""
    hd = needed()
    from pydicom.sr.codedict import codes

    numbers = [int(number) for number in np.unique(mask) if number > 0]
    stack = mask if mask.ndim == 3 else mask[None]
    dense = np.searchsorted([0, *numbers], stack).astype(np.uint8 if len(numbers) < 256 else np.uint16)
    how = hd.AlgorithmIdentificationSequence(
        name="medssl", family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=place,
            segment_label=f"{found[number - 1].label} {number}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=how,
            tracking_uid=hd.UID(),
            tracking_id=f"{number}, score {found[number - 1].score:.3f}",
        )
        for place, number in enumerate(numbers, 1)
    ]
    made = hd.seg.Segmentation(
        source_images=[_header(file) for file in series],
        pixel_array=dense,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=900,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="medssl",
        manufacturer_model_name="medssl",
        software_versions=__version__,
        device_serial_number="1",
    )
    with files.writing(path) as beside:
        made.save_as(beside)
