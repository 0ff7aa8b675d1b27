"""RT Structure Set (PS3.3 A.19): closed contours in the planes of slices, filled where a voxel's centre is inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.data.read.dicom_stack import LPS_TO_RAS
from medssl.data.reject import Rejected

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pydicom.dataset import Dataset

OUT_OF_PLANE = 0.5  # slices by which the points of a contour may leave the plane of their slice
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def series(source: Dataset) -> set[str]:
    """The UIDs of the series on which the structures were drawn."""
    frames = source.get("ReferencedFrameOfReferenceSequence") or []
    studies = [study for frame in frames for study in frame.get("RTReferencedStudySequence") or []]
    return {str(one.SeriesInstanceUID) for study in studies for one in study.get("RTReferencedSeriesSequence") or []}


def names(source: Dataset) -> dict[int, str]:
    """ROI number -> its name, of the structures that have closed contours."""
    drawn = {int(item.ReferencedROINumber) for item in source.get("ROIContourSequence") or [] if _contours(item)}
    items = source.get("StructureSetROISequence") or []
    named = {int(item.ROINumber): str(item.get("ROIName") or item.ROINumber).strip() for item in items}
    return {number: name for number, name in named.items() if number in drawn}


def masks(
    source: Dataset, path: Path, shape: tuple[int, ...], to_index: np.ndarray, wanted: Collection[int]
) -> dict[int, np.ndarray]:
    """The voxels (Z,Y,X) of each wanted structure; `to_index` maps RAS mm to the index (z,y,x). Raises `Rejected`.

    A contour inside another of the same structure is a hole.
    """
    found: dict[int, np.ndarray] = {}
    for item in source.ROIContourSequence:
        number = int(item.ReferencedROINumber)
        if number not in wanted:
            continue
        mask = found.setdefault(number, np.zeros(shape, bool))
        for data in _contours(item):
            points = np.array(data, float).reshape(-1, 3) @ LPS_TO_RAS.T
            _fill(mask, points @ to_index[:3, :3].T + to_index[:3, 3], path)
    return found


def _contours(item: Dataset) -> list[list[float]]:
    contours = item.get("ContourSequence") or []
    return [one.ContourData for one in contours if str(one.get("ContourGeometricType")) in CLOSED]


def _fill(mask: np.ndarray, points: np.ndarray, path: Path) -> None:
    """Turn over the voxels inside one contour (n,3), in index coordinates."""
    from skimage.draw import polygon

    axis = int(np.ptp(points, axis=0).argmin())
    level = float(points[:, axis].mean())
    if np.abs(points[:, axis] - round(level)).max() > OUT_OF_PLANE:
        raise Rejected(
            "contour is not in the plane of a slice", f"it spans {np.ptp(points, axis=0).round(2)} voxels", path
        )
    flat = np.delete(points, axis, axis=1)
    size = np.delete(mask.shape, axis)
    if not 0 <= round(level) < mask.shape[axis] or (flat.max(0) < -0.5).any() or (flat.min(0) > size - 0.5).any():
        raise Rejected("mask outside its image", f"slice {round(level)} of {mask.shape[axis]}", path)
    rows, columns = polygon(flat[:, 0], flat[:, 1], shape=tuple(size))
    plane = np.moveaxis(mask, axis, 0)[round(level)]  # a view: what is turned over there is so in `mask`
    plane[rows, columns] ^= True
