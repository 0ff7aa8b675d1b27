"""How `prepare` treats each kind of image. The augmentation presets of the same names are in transforms."""

from __future__ import annotations

from typing import NamedTuple

from medssl.messages import suggest
from medssl.types import InputError

UNKNOWN = "OT"  # modality of images that do not tell it


class Preset(NamedTuple):
    """How images of one kind are prepared, in 2D and in 3D."""

    modalities: tuple[str, ...]  # DICOM modalities it is for; OT (unknown, as in NIfTI) fits every preset
    channels: int  # of one image
    crop: str  # body | bright | uptake | frame | none: see medssl.data.foreground
    window: tuple[float, float] | None  # stored values mapped to 0 and 1; None: by RANGE, for each image


# How `foreground.value_range` scales to [0, 1]; stored in caches and checkpoints, so that images scaled by another
# rule are refused. The low end is not the foreground's: a threshold against air also cuts off dark tissue.
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
        raise InputError(f"there is no preset {name!r}{suggest(name, PRESETS)}")
    return PRESETS[name]
