"""Affines of MetaTensors: the voxel spacing, and the affine after resampling.

An affine maps index order to world coordinates in mm. A 2D image in space has two axes but three coordinates, so that
its affine is 4 x 4; the columns of its two axes come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from medssl.transforms.resampling.warp import Warp

SAME = 1e-3  # relative tolerance of spacings: headers are rounded
TURNED = 0.02  # tolerance of direction cosines: about one degree


def shared_spacing(images: Mapping[Hashable, Any], name: str) -> tuple[float, ...] | None:
    """The spacing in mm per axis of images (C,*S) on one grid, from their affines; None if none has an affine.

    Raises InputError if their spacings or axis directions differ, and for an affine without valid lengths.
    """
    steps = {key: _steps(image, f"{name}: {key}") for key, image in images.items() if isinstance(image, MetaTensor)}
    if not steps:
        return None
    known = {key: tuple(np.linalg.norm(columns, axis=0).tolist()) for key, columns in steps.items()}
    first, mm = next(iter(steps.values())), next(iter(known.values()))
    if not all(np.allclose(other, mm, rtol=SAME, atol=0) for other in known.values()):
        raise InputError(
            f"{name}: the keys have spacings {known} in mm, resample them to one grid first or give spacing"
        )
    for key, columns in steps.items():
        if columns.shape == first.shape and not np.allclose(columns / mm, first / mm, rtol=0, atol=TURNED):
            raise InputError(
                f"{name}: {key} has other axis directions than the first key, resample them to one grid first"
            )
    return mm


def moved(affine: torch.Tensor, w: Warp) -> torch.Tensor:
    """The affine of an image sampled at the map `w`: output voxel -> source voxel -> world."""
    n = len(w.size)
    step = np.eye(len(affine))
    step[:n, :n], step[:n, -1] = w.matrix, w.offset
    return affine @ torch.as_tensor(step, dtype=affine.dtype, device=affine.device)


def _steps(image: MetaTensor, name: str) -> np.ndarray:
    """The steps along the axes of the image in world coordinates in mm, one column per axis."""
    n, affine = image.ndim - 1, torch.as_tensor(image.affine).detach().cpu().double().numpy()
    if affine.ndim != 2 or len(affine) != affine.shape[1] or len(affine) <= n:
        raise InputError(f"{name} has an affine of shape {affine.shape}, give one of {n + 1} x {n + 1} or 4 x 4")
    mm = np.linalg.norm(affine[:-1, :n], axis=0)
    if not (np.isfinite(mm) & (mm > 0)).all():
        raise InputError(f"{name} has an affine with a voxel spacing of {mm.tolist()} mm, correct it or give spacing")
    return affine[:-1, :n]
