"""Which images of a manifest are prepared together: those of one modality, with enough slices, of a description."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from medssl.data import presets
from medssl.data.manifest import MODALITY_GUESSED, Manifest
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.data.manifest import Row

UNKNOWN = "OT"


def select(
    found: Manifest, *, modality: str | None = None, min_slices: int | None = None, description: str | None = None
) -> tuple[Manifest, dict[str, str]]:
    """The manifest with the rows that are wanted alone, and why others were left out (id -> reason).

    `description` is a regular expression looked for in the series description and the path, in any case. Raises
    InputError where it is none, or where nothing is left.
    """
    try:
        pattern = re.compile(description, re.IGNORECASE) if description else None
    except re.error as error:
        raise InputError(f"--description '{description}' is no regular expression: {error}") from None
    left: dict[str, str] = {}
    for row in found.rows:
        told = f"{found.entries[row.id].get('description', '')} {row.source}"
        if modality and row.modality != modality.upper():
            left[row.id] = f"modality {row.modality}, asked for {modality.upper()}"
        elif min_slices and _slices(row) < min_slices:
            left[row.id] = f"fewer than {min_slices} slices"
        elif pattern and not pattern.search(told):
            left[row.id] = "another description"
    rows = [row for row in found.rows if row.id not in left]
    if not rows:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in Counter(left.values()).most_common())
        raise InputError(f"no image of {found.path} is left: {reasons}")
    return Manifest(rows, found.root, found.path, found.entries), left


def one_modality(rows: list[Row], preset: str, path: object) -> list[str]:
    """Sentences about guessed and unknown modalities; InputError where some are known to be none of the preset's."""
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
        said.append(f"{known[UNKNOWN]} images of unknown modality were prepared with preset {preset} among others")
    return said


def _command(modality: str, path: object) -> str:
    preset = next((name for name, one in presets.PRESETS.items() if modality in one.modalities), None)
    if preset is None:
        return f"{modality} has no preset" if modality != UNKNOWN else "OT is unknown: scan again with --modality"
    return f"`medssl prepare {path} --preset {preset} --modality {modality} --out cache-{preset}`"


def _slices(row: Row) -> int:
    """Slices along the axis of the largest spacing; 1 in 2D."""
    if len(row.shape) < 3:
        return 1
    return row.shape[max(range(3), key=lambda axis: row.spacing[axis])]
