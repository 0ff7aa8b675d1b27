"""Choose the images of a manifest to prepare: by modality, number of slices and description."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from medssl.data import presets
from medssl.data.manifest import MODALITY_GUESSED, Manifest
from medssl.data.presets import UNKNOWN
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.data.manifest import Row


def select(
    found: Manifest, *, modality: str | None = None, min_slices: int | None = None, description: str | None = None
) -> tuple[Manifest, dict[str, str]]:
    """The manifest with the chosen rows only, and why the others were skipped (id -> reason).

    `description` is a regular expression that is searched in the series description and the path, ignoring case.
    Raises `InputError` if it is not one, or if no image is left.
    """
    try:
        pattern = re.compile(description, re.IGNORECASE) if description else None
    except re.error as error:
        raise InputError(f"--description '{description}' is not a regular expression: {error}") from None
    left: dict[str, str] = {}
    for row in found.rows:
        if modality and row.modality != modality.upper():
            left[row.id] = f"modality {row.modality}, not {modality.upper()}"
        elif min_slices and _slices(row) < min_slices:
            left[row.id] = f"fewer than {min_slices} slices"
        elif pattern and not pattern.search(f"{found.entries[row.id].get('description', '')} {row.source}"):
            left[row.id] = "description does not match"
    rows = [row for row in found.rows if row.id not in left]
    if not rows:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in Counter(left.values()).most_common())
        raise InputError(f"no image of {found.path} was chosen ({reasons}): change the options that choose images")
    return Manifest(rows, found.root, found.path, found.entries), left


def one_modality(rows: list[Row], preset: str, path: object) -> list[str]:
    """Notices about guessed and unknown modalities. Raises `InputError` if some are known not to be the preset's."""
    fits = (*presets.find(preset).modalities, UNKNOWN)
    known = Counter(row.modality for row in rows if MODALITY_GUESSED not in row.qc)
    if any(name not in fits for name in known):
        counts = ", ".join(f"{count} {name}" for name, count in known.most_common())
        raise InputError(
            f"{path} holds {counts}, but preset {preset} is for {', '.join(fits[:-1])}: prepare each modality into a "
            f"cache of its own: {'; '.join(_command(name, path) for name in sorted(known))}"
        )
    guessed = Counter(row.modality for row in rows if MODALITY_GUESSED in row.qc and row.modality not in fits)
    said = [
        f"{count} images look like {name}, but were prepared with preset {preset}" for name, count in guessed.items()
    ]
    if known[UNKNOWN] and len(known) > 1:
        said.append(f"{known[UNKNOWN]} images of unknown modality were prepared with preset {preset} like the others")
    return said


def _command(modality: str, path: object) -> str:
    preset = next((name for name, one in presets.PRESETS.items() if modality in one.modalities), None)
    if preset is None:
        return f"{modality} has no preset" if modality != UNKNOWN else "OT means unknown: scan again with --modality"
    return f"`medssl prepare {path} --preset {preset} --modality {modality} --out cache-{preset}`"


def _slices(row: Row) -> int:
    """Slices along the axis of the largest spacing; 1 in 2D."""
    if len(row.shape) < 3:
        return 1
    return row.shape[max(range(3), key=lambda axis: row.spacing[axis])]
