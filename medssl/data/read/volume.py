"""A volume in memory: its array and where its voxels lie; reorienting and resampling keep the anatomy in place."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

# SciPy before 1.15 says of every image that steps in place of a matrix have another meaning than they had in SciPy 0.17
warnings.filterwarnings("ignore", "The behavior of affine_transform with a 1-D array", UserWarning)
UNSMOOTHED_REDUCTION = 2.0  # linear interpolation uses 2 voxels: a coarser step skips voxels and causes aliasing


class Volume(NamedTuple):
    """An image in stored units."""

    array: np.ndarray  # (C,Z,Y,X) or (C,Y,X)
    affine: np.ndarray  # (4,4): index (z,y,x) -> (R,A,S) mm; (3,3) in 2D: index (y,x) -> mm in the plane
    spacing: tuple[float, ...]  # mm, in index order
    modality: str  # CT, MR, PT, CR, DX, US, SM, OT, ...
    spacing_known: bool = True  # False: the file does not say, and 1 mm is assumed
    notes: tuple[str, ...] = ()  # what was odd about the file, or was corrected


def make(array: np.ndarray, affine: np.ndarray, modality: str) -> Volume:
    """A volume from array (C,*S) and affine (n+1,n+1), with the spacing that the affine implies."""
    affine = np.asarray(affine, np.float64)
    spacing = tuple(float(length) for length in np.linalg.norm(affine[:-1, :-1], axis=0))
    return Volume(array, affine, spacing, modality)


def plane(array: np.ndarray, spacing: tuple[float, float], modality: str) -> Volume:
    """A 2D volume from array (C,Y,X) and spacing (mm; y,x)."""
    return make(array, np.diag([*spacing, 1.0]), modality)


def orient(volume: Volume) -> Volume:
    """Reorient a 3D volume so that indices grow toward Superior, Anterior, Right; 2D is returned unchanged.

    Axes are only permuted and flipped, in a view of the array: an oblique volume gets the nearest axes and keeps its
    exact directions.
    """
    if volume.array.ndim == 3:
        return volume
    from nibabel.orientations import inv_ornt_aff, io_orientation

    found = io_orientation(volume.affine)  # per array axis: world axis (0 R, 1 A, 2 S) and direction
    turn = np.stack([2 - found[:, 0], found[:, 1]], axis=1)  # world axes in our order S, A, R
    flipped = volume.array[(slice(None), *(slice(None, None, int(direction)) for direction in turn[:, 1]))]
    array = flipped.transpose(0, *(1 + np.argsort(turn[:, 0])))
    return make(array, volume.affine @ inv_ornt_aff(turn, volume.array.shape[1:]), volume.modality)


def resample(volume: Volume, spacing: tuple[float, ...], *, label: bool = False) -> Volume:
    """Resample to `spacing` (mm, index order) over the same field of view, with the same centre.

    Images are interpolated linearly (float32), after Gaussian smoothing where the step is more than doubled (sigma
    (step - 1) / 2 source voxels); labels take the nearest voxel and keep their dtype.
    """
    step = np.asarray(spacing, np.float64) / volume.spacing  # source voxels per new voxel
    if np.allclose(step, 1, atol=1e-4):
        return volume
    shape, size = np.asarray(volume.array.shape[1:]), np.array(resampled_size(volume, spacing))
    start = (shape - 1) / 2 - step * (size - 1) / 2  # source index of new voxel 0
    array = np.stack([_sample(channel, step, start, size, label) for channel in volume.array])
    return make(array, volume.affine @ _grid(step, start), volume.modality)


def resampled_size(volume: Volume, spacing: Sequence[float]) -> tuple[int, ...]:
    """How many voxels of `spacing` (mm, index order) cover the field of view of a volume, at least one per axis."""
    with np.errstate(over="ignore"):
        ratios = np.asarray(volume.spacing) * volume.array.shape[1:] / np.asarray(spacing, np.float64)
    return tuple(int(max(1, round(min(ratio, 1e18)))) for ratio in ratios)


def _grid(step: np.ndarray, start: np.ndarray) -> np.ndarray:
    matrix = np.diag([*step, 1.0])
    matrix[:-1, -1] = start
    return matrix


def _sample(channel: np.ndarray, step: np.ndarray, start: np.ndarray, size: np.ndarray, label: bool) -> np.ndarray:
    from scipy import ndimage

    settings: dict[str, Any] = {"offset": start, "output_shape": tuple(size), "mode": "nearest"}
    if label:
        return _nearest(channel, step, start, size)
    channel = channel.astype(np.float32)
    blur = np.where(step > UNSMOOTHED_REDUCTION, (step - 1) / 2, 0)
    if blur.any():
        channel = ndimage.gaussian_filter(channel, blur, mode="nearest")
    return ndimage.affine_transform(channel, step, order=1, **settings)


def _nearest(channel: np.ndarray, step: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Axis by axis, as the grids are parallel; halfway between two voxels, the upper one is taken."""
    for axis, n in enumerate(size):
        place = np.floor(start[axis] + step[axis] * np.arange(n) + 0.5).astype(int)
        channel = channel.take(np.clip(place, 0, channel.shape[axis] - 1), axis=axis)
    return channel
