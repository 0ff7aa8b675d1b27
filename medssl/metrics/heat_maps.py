"""Scores of a heat map over the voxels of an image: pointing game, pixel AUC and AP, AUPRO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

if TYPE_CHECKING:
    from collections.abc import Sequence


def pointing(
    heat: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None = None, within_mm: float = 0
) -> float:
    """1 if the hottest voxel of `heat` (*S) lies in `truth` (*S bool), or within a tolerance in mm of it, else 0.

    On ties the first in C order counts; NaN if the class is absent, 0 for a map without a peak (all equal). No
    tolerance, as in CheXlocalize; the excitation-backprop game on natural images allows 15 pixels.
    """
    if not truth.any():
        return float("nan")
    if heat.max() <= heat.min():
        return 0.0
    peak = np.unravel_index(int(heat.argmax()), heat.shape)
    if truth[peak] or within_mm <= 0:
        return float(truth[peak])
    return float(ndimage.distance_transform_edt(~truth.astype(bool), sampling=spacing)[peak] <= within_mm)


def pixel_auc(heats: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> float:
    """AUROC over all voxels of all images; NaN if the truth has one value only. It saturates: report `pixel_ap` too."""
    heat, truth = _pooled(heats, truths)
    return float(roc_auc_score(truth, heat)) if 0 < truth.sum() < len(truth) else float("nan")


def pixel_ap(heats: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> float:
    """Average precision over all voxels of all images; by chance it equals the share of true voxels."""
    heat, truth = _pooled(heats, truths)
    return float(average_precision_score(truth, heat)) if 0 < truth.sum() < len(truth) else float("nan")


def aupro(heats: Sequence[np.ndarray], truths: Sequence[np.ndarray], to: float = 0.3) -> float:
    """Per-region overlap over false positive rate, area from 0 to `to` divided by it (MVTec AD, Bergmann et al. 2021).

    Overlap: covered share, averaged over the components of all truths; false positive rate: over all voxels that are
    not true. Each region counts equally, however small. NaN if the truth has one value only.
    """
    weights, normal, heat = [], [], []
    for one, truth in zip(heats, truths, strict=True):
        numbered, count = ndimage.label(truth, ndimage.generate_binary_structure(truth.ndim, truth.ndim))
        sizes = np.bincount(numbered.ravel(), minlength=count + 1)
        weights.append(np.where(numbered > 0, 1 / np.maximum(sizes, 1)[numbered], 0.0).ravel())
        normal.append(numbered.ravel() == 0)
        heat.append(one.ravel())
    weight, outside, value = (np.concatenate(parts) for parts in (weights, normal, heat))
    regions = weight.sum()
    if not regions > 0 or not outside.any():
        return float("nan")
    order = np.argsort(-value, kind="stable")
    last = np.append(np.diff(value[order]) != 0, True)  # equal scores are one threshold
    rate = np.concatenate([[0], (outside[order].cumsum() / outside.sum())[last]])
    share = np.concatenate([[0], (weight[order].cumsum() / regions)[last]])
    right = int(np.searchsorted(rate, to))  # the first rate that reaches `to`; linear between it and the one before
    part = (to - rate[right - 1]) / (rate[right] - rate[right - 1])
    end = share[right - 1] + part * (share[right] - share[right - 1])
    return float(np.trapezoid(np.append(share[:right], end), np.append(rate[:right], to)) / to)


def _pooled(heats: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.concatenate([np.ravel(one) for one in parts]) for parts in (heats, truths))  # type: ignore[return-value]
