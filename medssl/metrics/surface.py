"""Distances between the surfaces of two binary masks, in several named definitions.

If both masks are empty: NaN; if one is: surface Dice 0, and as distance the diagonal of the volume (MONAI: NaN or
infinity, which drops the failure from a mean).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.utils import get_edge_surface_distance

if TYPE_CHECKING:
    from collections.abc import Sequence

Variant = Literal["monai", "deepmind", "pooled"]


def surface_dice(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float) -> float:
    """Normalised surface Dice (NSD) of two masks (*S): the share of both surfaces within `tolerance` mm of the other.

    Surface elements are those of 2x2(x2) neighbourhoods with their length or area in mm (Nikolov et al. 2021,
    DeepMind's `surface-distance`): MONAI with `use_subvoxels=True`. MONAI's default counts voxels instead and differs
    by up to .2.
    """
    if not (prediction.any() and truth.any()):
        return 0.0 if prediction.any() or truth.any() else float("nan")
    one, other = (_tensor(mask)[None, None] for mask in (prediction, truth))
    steps, reach = [float(step) for step in spacing], [float(tolerance)]
    return float(compute_surface_dice(one, other, reach, include_background=True, spacing=steps, use_subvoxels=True))


def hausdorff(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    percentile: float = 95,
    variant: Variant = "monai",
) -> float:
    """Percentile Hausdorff distance in mm of two masks (*S); HD95 by default.

    - "monai": the percentile of the distances from each boundary voxel to the other boundary in each direction, linear
      between order statistics; then the larger one. This is what results.json calls hd95.
    - "deepmind": the same over surface elements, weighted by their area.
    - "pooled": one percentile of both directions together (medpy).

    A stray voxel changes the three differently: compare results of one definition only.
    """
    if not (prediction.any() and truth.any()):
        diagonal = float(np.linalg.norm(np.multiply(truth.shape, spacing)))
        return diagonal if prediction.any() or truth.any() else float("nan")
    steps = [float(step) for step in spacing]
    edges, distances, areas = get_edge_surface_distance(
        _tensor(prediction), _tensor(truth), spacing=steps, use_subvoxels=variant == "deepmind", symmetric=True
    )
    there, back = (np.asarray(distance, dtype=float) for distance in distances)
    if variant == "pooled":
        return float(np.percentile(np.concatenate([there, back]), percentile))
    if variant == "monai":
        return float(max(np.percentile(there, percentile), np.percentile(back, percentile)))
    weights = [np.asarray(area[edge], dtype=float) for area, edge in zip(areas, edges, strict=True)]
    return max(_weighted(d, w, percentile) for d, w in zip((there, back), weights, strict=True))


def _weighted(distance_E: np.ndarray, area_E: np.ndarray, percentile: float) -> float:
    """The smallest distance at which `percentile` of the area is reached."""
    order = np.argsort(distance_E, kind="stable")
    share = area_E[order].cumsum() / area_E.sum()
    return float(distance_E[order][min(int(np.searchsorted(share, percentile / 100)), len(order) - 1)])


def _tensor(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))
