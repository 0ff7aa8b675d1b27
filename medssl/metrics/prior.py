"""A baseline of segmentation without any image: the mean label map of the training cases.

Only the score above this baseline comes from the image. It is meaningful if all volumes frame the same organ alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import zoom

from medssl.metrics.segmentation import dice

if TYPE_CHECKING:
    from collections.abc import Sequence

_THRESHOLDS = np.linspace(0.1, 0.9, 17)


class Prior(NamedTuple):
    """The frequency of each class at each position of a frame to which all volumes are stretched."""

    share: np.ndarray  # (K,*frame) float32, classes 1..K
    threshold: float  # of the summed share, above which a voxel is foreground

    def predict(self, shape: Sequence[int]) -> np.ndarray:
        """The mask (*shape) predicted by the prior alone."""
        return _mask(_stretch(self.share, shape), self.threshold)


def fit(labels: Sequence[np.ndarray], classes: int) -> Prior:
    """Mean label map of integer masks (*S) in a frame of their median shape, with the best threshold on them."""
    frame = tuple(int(side) for side in np.median([label.shape for label in labels], axis=0))
    maps = [np.stack([label == value for value in range(1, classes + 1)]).astype(np.float32) for label in labels]
    share = np.mean([_stretch(one, frame) for one in maps], axis=0)
    stretched = [_stretch(share, label.shape) for label in labels]
    scores = [
        np.nanmean([dice(_mask(prior, t), label, classes) for prior, label in zip(stretched, labels, strict=True)])
        for t in _THRESHOLDS
    ]
    return Prior(share, float(_THRESHOLDS[int(np.argmax(scores))]))


def _stretch(map_K: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    factors = [1.0, *(new / old for new, old in zip(shape, map_K.shape[1:], strict=True))]
    return zoom(map_K, factors, order=1, mode="nearest", grid_mode=True)


def _mask(share_K: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(share_K.sum(0) > threshold, share_K.argmax(0) + 1, 0)
