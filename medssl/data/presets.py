"""What `prepare` takes for granted of each kind of image. The views' presets of the same names are in transforms."""

from __future__ import annotations

from typing import NamedTuple

from medssl.types import InputError


class Preset(NamedTuple):
    """How images of one kind are prepared, in 2D and in 3D."""

    modalities: tuple[str, ...]  # DICOM modalities it is meant for; OT (unknown, as in NIfTI) fits every preset
    channels: int  # of one image
    crop: str  # body | bright | uptake | frame | none: see medssl.data.foreground
    window: tuple[float, float] | None  # stored values that become 0 and 1; None: by RANGE, image by image


# How `foreground.value_range` finds 0 and 1; kept in caches and checkpoints, so that images prepared by another rule
# are never taken for these. The low end is not that of the foreground: what parts it from air also cuts dark tissue.
RANGE = "0.5% of all but background, 99.5% of the foreground"

PRESETS = {
    # The whole range from lung to bone. `prepare(window=(-160, 240))` is the usual choice for abdominal soft tissue.
    "ct": Preset(("CT",), 1, "body", (-1000.0, 1000.0)),
    "mr": Preset(("MR",), 1, "bright", None),
    "pet": Preset(("PT",), 1, "uptake", None),
    "xray": Preset(("CR", "DX", "MG", "RF", "XA"), 1, "frame", None),
    "pathology": Preset(("SM", "GM", "XC"), 3, "none", (0.0, 255.0)),
    "ultrasound": Preset(("US",), 1, "none", (0.0, 255.0)),
}


def find(name: str) -> Preset:
    """The preset of that name. Raises InputError."""
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
