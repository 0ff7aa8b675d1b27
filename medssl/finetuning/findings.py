"""What `predict` writes of lesions: candidates.csv with voxels and mm, a mask of those reported, and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from medssl.data import files, grid
from medssl.finetuning.slices import box_on_slice, gray_slice
from medssl.types import Box

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medssl.metrics.lesions import Candidate

HEAD = ("id", "number", "class", "score", "reported", "centre", "start", "stop", "centre_mm", "first_mm", "last_mm")
REPORTED, LEFT_OUT = (255, 200, 0), (90, 130, 160)  # colours of boxes
SMALLEST_SIDE = 256  # of a picture, in pixels


class Prepared(NamedTuple):
    """An image as the network saw it."""

    array: np.ndarray  # (C,*S) stored units
    geometry: dict[str, Any]


def lines(name: str, found: Sequence[Candidate], threshold: float, geometry: dict[str, Any]) -> list[tuple[str, ...]]:
    """One line of candidates.csv each: voxels of the source (index order), mm (R, A, S; in 2D row, column).

    `first_mm` and `last_mm` are the centres of the first and last voxel of the box. `number` is the value of the
    candidate in the mask; those that are not reported are not in it.
    """
    affine = np.array(geometry["source"]["affine"])
    written = []
    for number, one in enumerate(found, 1):
        region = one.region
        box = grid.box_to_source(Box(one.label, region.start or (), region.stop or ()), geometry)
        centre = grid.to_source_index(region.centre, geometry)
        first, last = np.array(box.start), np.array(box.stop) - 1
        places = [" ".join(f"{v:.4g}" for v in corner) for corner in (centre, box.start, box.stop)]
        mm = [" ".join(f"{v:.3f}" for v in (affine @ [*index, 1])[:-1]) for index in (centre, first, last)]
        reported = "yes" if one.score >= threshold else "no"
        written.append((name, str(number), one.label, f"{one.score:.6f}", reported, *places, *mm))
    return written


def mask(found: Sequence[Candidate], threshold: float, shape: Sequence[int]) -> np.ndarray:
    """The reported candidates (*S), each with its number; where two classes meet, that of the higher score."""
    made = np.zeros(tuple(shape), np.uint8 if len(found) < 256 else np.uint16)
    for number, one in reversed(list(enumerate(found, 1))):
        region = one.region
        if one.score >= threshold and region.start is not None:
            made[region.window][region.mask if region.mask is not None else ...] = number
    return made


def picture(path: Path, image: Prepared, found: Sequence[Candidate], threshold: float) -> None:
    """Draw the boxes, in 3D on the slice through the middle of the best candidate, else through that of the image."""
    shape = image.array.shape[1:]
    middle = found[0].region.centre[0] if found else shape[0] // 2
    z = round(middle) if len(shape) == 3 else None
    shown = gray_slice(image.array, image.geometry["intensity"], z)
    zoom = max(1, -(-SMALLEST_SIDE // min(shown.size)))
    shown = shown.resize((shown.width * zoom, shown.height * zoom), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(shown)
    for one in reversed(found):
        if box := box_on_slice(one.region, shape, z):
            colour = REPORTED if one.score >= threshold else LEFT_OUT
            (top, left), (bottom, right) = ([zoom * v for v in corner] for corner in box)
            draw.rectangle((left, top, right - 1, bottom - 1), outline=colour)
            draw.text((left + 2, top + 1), f"{one.score:.2f}", fill=colour)
    with files.writing(path) as beside:
        shown.save(beside, format="PNG")
