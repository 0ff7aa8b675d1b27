"""The pipelines with which views are compared, each with the list of `benchmarks/views.py` and its own best settings.

Elastic magnitudes are calibrated: every pipeline moves voxels by the same mean distance, measured on coordinate ramps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import monai.transforms as m
import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from monai.data import set_track_meta

if TYPE_CHECKING:
    from collections.abc import Callable

    Pipeline = Callable[[torch.Tensor, int], torch.Tensor]

set_track_meta(False)  # what follows affines costs time, and needs none here
KEY, DEGREES, ZOOM = "x", 15.0, 0.1
ANGLE = float(np.deg2rad(DEGREES))


def around(size: tuple[int, ...], shape: tuple[int, ...], moves: list[m.Transform], bg2: bool = False) -> m.Compose:
    """Crop (a share of 0.2 to 1) and resize, flips, `moves`, then gamma, noise, blur and one block of zeros."""
    n = len(size)
    smallest = [round(s * 0.2 ** (1 / n)) for s in shape]
    mode = "bilinear" if n == 2 else "trilinear"
    flips = [m.RandFlipd(KEY, 0.5, spatial_axis=i) for i in range(n)]
    hole = [max(s // 6, 1) for s in size]
    return m.Compose(
        [
            m.RandSpatialCropd(KEY, smallest, random_size=True),
            m.Resized(KEY, size, mode=mode),
            *flips,
            *moves,
            m.RandAdjustContrastd(KEY, 1.0, (0.8, 1.25)),
            m.RandGaussianSmoothd(KEY, (0.3, 1.0), (0.3, 1.0), (0.3, 1.0), prob=0.5),
            m.RandGaussianNoised(KEY, 0.5, std=0.03),
            m.RandCoarseDropoutd(KEY, 1, hole, fill_value=0, max_spatial_size=[2 * h for h in hole], prob=1.0),
        ]
    )


def monai(size: tuple[int, ...], shape: tuple[int, ...], moves: list[m.Transform]) -> Pipeline:
    """Two views by MONAI."""
    chain = around(size, shape, moves)

    def views(x: torch.Tensor, seed: int) -> torch.Tensor:
        chain.set_random_state(seed)
        return torch.stack([chain({KEY: x})[KEY] for _ in range(2)])

    return views


def elastic(n: int, mean: float, size: tuple[int, ...]) -> list[m.Transform]:
    """MONAI's elastic, which rotates and zooms in the same interpolation."""
    turn = {"rotate_range": _angles(n), "scale_range": (ZOOM,) * n}

    def make(magnitude: float, **more: float) -> m.Transform:
        if n == 2:
            return m.Rand2DElasticd(KEY, 40, (magnitude, magnitude), prob=1.0, padding_mode="border", **more)
        return m.Rand3DElasticd(KEY, (5, 7), (magnitude, magnitude), prob=1.0, padding_mode="border", **more)

    return [make(mean / moved_by(make(1.0), size), **turn)]


def affine(n: int, mean: float, size: tuple[int, ...]) -> list[m.Transform]:
    """MONAI's affine alone: `mean` is not used."""
    return [m.RandAffined(KEY, prob=1.0, rotate_range=_angles(n), scale_range=(ZOOM,) * n, padding_mode="border")]


def _angles(n: int) -> tuple[float, ...]:
    """One range an angle: MONAI takes a single number for the first axis alone."""
    return (ANGLE,) * (1 if n == 2 else 3)


def affine_grid(n: int, mean: float, size: tuple[int, ...]) -> list[m.Transform]:
    """MONAI's affine, then its grid distortion: two interpolations, its fastest deformation."""

    def make(limit: float) -> m.Transform:
        return m.RandGridDistortiond(KEY, 5, 1.0, (-limit, limit))

    return [*affine(n, mean, size), make(0.1 * mean / moved_by(make(0.1), size))]


def batchgenerators(n: int, mean: float, size: tuple[int, ...]) -> list[m.Transform]:
    """Affine and elastic by batchgeneratorsv2 in one interpolation; the rest of the list by MONAI."""

    def make(magnitude: float, turned: bool) -> SpatialTransform:
        return SpatialTransform(
            size,
            [s // 2 for s in size],
            random_crop=False,
            p_elastic_deform=1,
            elastic_deform_scale=0.08,
            elastic_deform_magnitude=magnitude,
            p_rotation=float(turned),
            rotation=(-ANGLE, ANGLE),
            p_scaling=float(turned),
            scaling=(1 - ZOOM, 1 + ZOOM),
            padding_mode_image="border",
        )

    def wrapped(transform: SpatialTransform) -> m.Transform:
        return m.Lambdad(KEY, lambda x: transform(image=torch.as_tensor(x))["image"])

    return [wrapped(make(mean / moved_by(wrapped(make(1.0, False)), size), True))]


def moved_by(transform: m.Transform, size: tuple[int, ...]) -> float:
    """Mean displacement, in voxels, by which a transform moves the inside of an image."""
    ramps = torch.stack(torch.meshgrid(*[torch.arange(float(s)) for s in size], indexing="ij"))
    inside = (slice(None), *[slice(s // 6, -(s // 6)) for s in size])
    lengths = []
    for seed in range(3):
        if isinstance(transform, m.Randomizable):
            transform.set_random_state(seed)
        lengths.append(float((transform({KEY: ramps})[KEY] - ramps)[inside].norm(dim=0).mean()))
    return float(np.mean(lengths))
