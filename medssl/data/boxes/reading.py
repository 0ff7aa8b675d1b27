"""Read a file of boxes in a given or detected format, and place the boxes on their images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.data.boxes import coco, luna, nih, nndet, rsna, vindr
from medssl.data.boxes.form import Mark, Point
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.boxes.form import Marks

FORMATS: dict[str, Any] = {"rsna": rsna, "nih": nih, "vindr": vindr, "luna": luna, "coco": coco, "nndet": nndet}
TO_LPS = np.array([-1.0, -1.0, 1.0])  # affines are toward Right, Anterior, Superior
SLACK = 1.0  # voxels by which a box may exceed its image, as annotators draw over the edge


def read(path: Path, format_: str | None) -> tuple[Marks, str]:
    """The boxes of a file, and its format. Raises `InputError` if the format is unknown or the file cannot be read."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no file at --boxes {path}")
    if format_ is None:
        fitting = [name for name, module in FORMATS.items() if module.fits(path)]
        if not fitting:
            raise InputError(f"--boxes {path} has no known header: give its format with --boxes-as {'|'.join(FORMATS)}")
        format_ = fitting[0]
    if format_ not in FORMATS:
        raise InputError(f"--boxes-as {format_} is not one of {', '.join(FORMATS)}")
    if not FORMATS[format_].fits(path):
        raise InputError(f"--boxes {path} is not of the format {format_}: leave --boxes-as out, or choose another")
    return FORMATS[format_].read(path), format_


def placed(marks: Sequence[Mark | Point], shape: Sequence[int], affine: np.ndarray, image: str) -> list[Mark]:
    """Boxes in voxels of an image of `shape`, clipped to it; points are placed by its `affine` (index -> RAS mm).

    Raises `InputError` for a box outside the image, which must be from an image of another size.
    """
    found = []
    for mark in marks:
        dims = 3 if isinstance(mark, Point) else len(mark.start)
        if dims != len(shape):
            sort = "points" if isinstance(mark, Point) else "boxes"
            raise InputError(
                f"--boxes has {dims}D {sort} for {image}, an image of {len(shape)} axes: is it the right file?"
            )
        box = _of_point(mark, affine) if isinstance(mark, Point) else mark
        _check_inside(box, shape, image)
        start = tuple(max(0.0, float(a)) for a in box.start)
        stop = tuple(min(float(n), float(b)) for b, n in zip(box.stop, shape, strict=True))
        found.append(box._replace(start=start, stop=stop))
    return found


def _check_inside(box: Mark, shape: Sequence[int], image: str) -> None:
    """Check that nothing lies outside the image; a ball may exceed it, and a box by one voxel."""
    corners = list(zip(box.start, box.stop, shape, strict=True))
    beyond = box.diameter_mm is None and any(a < -SLACK or b > n + SLACK for a, b, n in corners)
    if beyond or any(b <= a or b <= 0 or a >= n for a, b, n in corners):
        start, stop = ([round(c, 1) for c in side] for side in (box.start, box.stop))
        raise InputError(
            f"--boxes has {start} to {stop} for {image}, whose shape is {list(shape)}: boxes are in voxels of the "
            "image that they were drawn on, so scan that one"
        )


def _of_point(point: Point, affine: np.ndarray) -> Mark:
    centre = (np.linalg.inv(affine) @ [*(TO_LPS * point.centre_lps), 1])[:3]
    reach = [point.diameter_mm / 2 / math.sqrt(float(column @ column)) for column in affine[:3, :3].T]
    start, stop = (tuple((centre + 0.5 + sign * np.array(reach)).tolist()) for sign in (-1, 1))
    return Mark(point.label, start, stop, "", point.ignore, point.diameter_mm)
