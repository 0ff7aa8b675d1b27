"""How an image was taken, from its DICOM header: numbers and known words alone, so that nothing can name anybody."""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING, Any

from medssl.data.read.dicom_header import frame_item, modality_of, read_header

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

MILLISECONDS = ("EchoTime", "RepetitionTime", "InversionTime")  # written in seconds, as BIDS has them
NUMBERS = (
    *("MagneticFieldStrength", "FlipAngle", "EchoTrainLength", "NumberOfAverages", "PixelBandwidth"),
    *("SliceThickness", "SpacingBetweenSlices", "KVP", "Exposure", "XRayTubeCurrent", "ReconstructionDiameter"),
)
WORDS = {
    "MRAcquisitionType": ("1D", "2D", "3D"),
    "ScanningSequence": ("SE", "IR", "GR", "EP", "RM"),
    "SequenceVariant": ("SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"),
    "PatientPosition": ("HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"),
    "ViewPosition": ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "CC", "MLO"),
}
VENDORS = (
    *("Siemens", "GE", "Philips", "Canon", "Toshiba", "Hitachi", "UIH", "Fujifilm", "Agfa", "Carestream", "Kodak"),
    *("Samsung", "Hologic", "Konica"),
)
FUNCTIONAL = ("MRTimingAndRelatedParametersSequence", "MREchoSequence", "PixelMeasuresSequence")


def facts(path: Path) -> dict[str, Any]:
    """What the header of a DICOM file says in numbers and known words, by BIDS or DICOM name. Raises `Rejected`."""
    with warnings.catch_warnings(action="ignore"):
        header = read_header(path)
        found: dict[str, Any] = {"Modality": modality_of(header), "Manufacturer": _vendor(header)}
        found |= {name: _number(_value(header, name), 1000) for name in MILLISECONDS}
        found |= {name: _number(_value(header, name)) for name in NUMBERS}
        found |= {name: _known(header.get(name), allowed) for name, allowed in WORDS.items()}
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def _value(header: Dataset, name: str) -> Any:
    """The value in the header, or in the functional groups of a multi-frame file."""
    places = (header, *(frame_item(header, 0, group) for group in FUNCTIONAL))
    return next((place.get(name) for place in places if place.get(name) is not None), None)


def _number(value: Any, divisor: float = 1) -> float | None:
    try:
        number = float(value) / divisor
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _known(value: Any, allowed: tuple[str, ...]) -> str | list[str] | None:
    several = not isinstance(value, str)
    found = [word for word in (list(value or []) if several else [value]) if str(word) in allowed]
    return found if several else (found[0] if found else None)


def _vendor(header: Dataset) -> str | None:
    text = str(header.get("Manufacturer") or "")
    return next((name for name in VENDORS if re.search(rf"\b{name}\b", text, re.IGNORECASE)), None)
