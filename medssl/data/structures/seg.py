"""DICOM Segmentation (PS3.3 A.51): frames of pixels with a position and a segment each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.data.read import dicom_pixels
from medssl.data.read.dicom_header import frame_item
from medssl.data.read.dicom_stack import LPS_TO_RAS
from medssl.data.reject import Rejected

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pydicom.dataset import Dataset

OFF_GRID = 0.25  # voxels by which the pixels of a mask may lie beside those of its image


def series(source: Dataset) -> set[str]:
    """The UIDs of the series that the segmentation refers to."""
    return {str(item.SeriesInstanceUID) for item in source.get("ReferencedSeriesSequence") or []}


def names(source: Dataset) -> dict[int, str]:
    """Segment number -> its label."""
    items = source.get("SegmentSequence") or []
    return {int(item.SegmentNumber): str(item.get("SegmentLabel") or item.SegmentNumber).strip() for item in items}


def masks(
    source: Dataset, path: Path, shape: tuple[int, ...], to_index: np.ndarray, wanted: Collection[int]
) -> dict[int, np.ndarray]:
    """The voxels (Z,Y,X) of each wanted segment; `to_index` maps RAS mm to the index (z,y,x). Raises `Rejected`."""
    found: dict[int, np.ndarray] = {}
    labelmap = str(source.get("SegmentationType")).upper() == "LABELMAP"
    for number, frame in enumerate(dicom_pixels.frames(source, path)):
        segments = np.unique(frame[frame > 0]).tolist() if labelmap else [_segment(source, number)]
        for segment in set(segments) & set(wanted):
            inside = frame == segment if labelmap else frame >= _threshold(source)
            mask = found.setdefault(segment, np.zeros(shape, bool))
            pixels = np.argwhere(inside)
            mask[tuple(_on_grid(pixels, source, number, to_index, shape, path).T)] = True
    return found


def _segment(source: Dataset, number: int) -> int:
    return int(frame_item(source, number, "SegmentIdentificationSequence").ReferencedSegmentNumber)


def _threshold(source: Dataset) -> float:
    """From this stored value on, a pixel belongs to the segment: at half of the largest fraction."""
    fractional = str(source.get("SegmentationType")).upper() == "FRACTIONAL"
    return int(source.get("MaximumFractionalValue") or 255) / 2 if fractional else 1


def _on_grid(
    pixels: np.ndarray, source: Dataset, number: int, to_index: np.ndarray, shape: tuple[int, ...], path: Path
) -> np.ndarray:
    """The image index (n,3) of the pixels (n,2; row, column) of one frame."""
    position = np.array(frame_item(source, number, "PlanePositionSequence").ImagePositionPatient, float)
    turn = np.array(frame_item(source, number, "PlaneOrientationSequence").ImageOrientationPatient, float)
    spacing = [float(mm) for mm in frame_item(source, number, "PixelMeasuresSequence").PixelSpacing]
    steps = np.stack([turn[3:] * spacing[0], turn[:3] * spacing[1]])  # mm from row to row, from column to column
    corners = np.array([(r, c) for r in (0, int(source.Rows) - 1) for c in (0, int(source.Columns) - 1)])
    edge, exact = (
        (position + at @ steps) @ LPS_TO_RAS.T @ to_index[:3, :3].T + to_index[:3, 3] for at in (corners, pixels)
    )
    voxel = np.linalg.norm(np.linalg.inv(to_index)[:3, :3], axis=0)
    if np.abs(edge - np.rint(edge)).max() > OFF_GRID or not _whole_step(steps, to_index):
        raise Rejected(
            "mask on another grid than its image", f"pixels of {spacing} mm on {voxel.round(3).tolist()}", path
        )
    index = np.rint(exact).astype(int)
    if index.size and (index.min() < 0 or (index >= shape).any()):
        raise Rejected("mask outside its image", f"voxel {index.max(0).tolist()} of {list(shape)}", path)
    return index


def _whole_step(steps: np.ndarray, to_index: np.ndarray) -> bool:
    """Whether from pixel to pixel is from voxel to voxel."""
    moves = np.abs(steps @ LPS_TO_RAS.T @ to_index[:3, :3].T)
    return bool(np.allclose(moves.max(1), 1, atol=OFF_GRID / 2) and np.allclose(moves.sum(1), 1, atol=OFF_GRID))
