"""UIH (United Imaging) grids: all slices of a volume as tiles of one image, positions in a private sequence.

Tags as in dcm2niix (Li et al. 2016): (0065,1050) the number of tiles, (0065,1051) one item per tile, with its position.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.data.read import dicom_pixels
from medssl.data.read.dicom_header import UIH_FRAMES, uih_tiles
from medssl.data.read.dicom_stack import LPS_TO_RAS
from medssl.data.reject import Rejected, brief

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset


def grid(source: Dataset, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The tiles as (Z,Y,X) in physical units, and the affine, index (z,y,x) -> RAS mm. Raises `Rejected`."""
    count = uih_tiles(source) or 0
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    try:
        positions = np.array([[float(mm) for mm in item.ImagePositionPatient] for item in source[UIH_FRAMES].value])
        direction = np.array([float(number) for number in source.ImageOrientationPatient])
        spacing = [float(mm) for mm in source.PixelSpacing]
        step = (positions[-1] - positions[0]) / (count - 1)
    except (AttributeError, TypeError, ValueError) as error:
        raise Rejected("vendor mosaic", f"UIH grid: {brief(error)}", path) from None
    picture: Any = dicom_pixels.rescale(dicom_pixels.frames(source, path)[0], source, 0)
    if picture.shape[0] % rows or picture.shape[1] % columns:
        raise Rejected("vendor mosaic", f"{picture.shape} cannot be divided into {count} tiles", path)
    if np.abs(positions - positions[0] - np.outer(np.arange(count), step)).max() > np.linalg.norm(step) / 10:
        raise Rejected("uneven slice spacing", "tiles of a UIH grid", path)
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    array = picture.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(-1, height, width)[:count]
    affine = np.eye(4)
    sides = [step, direction[3:] * spacing[0], direction[:3] * spacing[1]]
    affine[:3, :3], affine[:3, 3] = LPS_TO_RAS @ np.stack(sides, axis=1), LPS_TO_RAS @ positions[0]
    return array, affine
