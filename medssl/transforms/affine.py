"""Affines of MetaTensors: the spacing of the voxels, and what becomes of the affine when they are moved.

An affine maps index order to world coordinates in mm. A plane in space has two axes and yet three coordinates, so that
its affine is 4 x 4: the columns of its two axes come first, whatever direction in the world they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from medssl.transforms.warp import Warp

SAME = 1e-3  # relative: headers are rounded


def shared_spacing(images: Mapping[Hashable, Any], name: str) -> tuple[float, ...] | None:
    """Millimetres an axis of images (C,*S) on one grid, from their affines; None if none of them has one.

    Raises InputError if two disagree, for they cannot be one grid, and for an affine that gives no lengths.
    """
    known = {key: _spacing(image, f"{name}: {key}") for key, image in images.items() if isinstance(image, MetaTensor)}
    if not known:
        return None
    first = next(iter(known.values()))
    if not all(np.allclose(mm, first, rtol=SAME, atol=0) for mm in known.values()):
        raise InputError(f"{name}: the keys have spacings {known} in mm, bring them to one grid first or give spacing")
    return first


def moved(affine: torch.Tensor, w: Warp) -> torch.Tensor:
    """The affine of what was sampled at `w`: output voxel -> source voxel -> world."""
    n = len(w.size)
    step = np.eye(len(affine))
    step[:n, :n], step[:n, -1] = w.matrix, w.offset
    return affine @ torch.as_tensor(step, dtype=affine.dtype, device=affine.device)


def _spacing(image: MetaTensor, name: str) -> tuple[float, ...]:
    """Lengths of the steps along the axes of the image, over all world coordinates."""
    n, affine = image.ndim - 1, torch.as_tensor(image.affine).detach().cpu().double().numpy()
    if affine.ndim != 2 or len(affine) != affine.shape[1] or len(affine) <= n:
        raise InputError(f"{name} has an affine of shape {affine.shape}, give one of {n + 1} x {n + 1} or 4 x 4")
    mm = np.linalg.norm(affine[:-1, :n], axis=0)
    if not (np.isfinite(mm) & (mm > 0)).all():
        raise InputError(f"{name} has an affine whose steps are {mm.tolist()} mm long, mend it or give spacing")
    return tuple(mm.tolist())
