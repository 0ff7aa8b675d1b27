"""Localization by a heatmap of centres, for lesions under about eight voxels, or lesions that touch.

`task: {kind: localize, head: heatmap}` is this task; all that follows from candidates is as in `localize`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl.localization import peaks, scores, truth
from medssl.metrics import candidates, reference_lesions
from medssl.metrics.matching import Kind, Rule
from medssl.models import windows
from medssl.models.heatmap import STRIDES, HeatmapNet
from medssl.tasks import segment
from medssl.tasks.localize import Localize, Settings, by_truth, checked
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medssl.data.cache import Case
    from medssl.metrics.lesions import Candidate, Lesion
    from medssl.tasks.task import Row


class Heatmap(Localize):
    """The task; see `build`."""

    masks = False  # a heatmap of centres has none, and so no Dice

    def model(self, encoder: nn.Module, decoder: nn.Module | None) -> nn.Module:
        """A `HeatmapNet`; raises `InputError` without a decoder."""
        if decoder is None:
            raise InputError("task.head=heatmap needs a decoder, but decoder is null: set decoder.kind=unet")
        return HeatmapNet(self.within.spatial_dims, encoder, decoder, len(self.classes))

    def truth(self, case: Case, label: np.ndarray | None) -> tuple[np.ndarray, tuple[Lesion, ...]]:
        """Codes (1,*S) of class and number of the lesion, so that touching ones are two, and the lesions."""
        map_, lesions = super().truth(case, label)
        return self._numbered(map_[0], lesions)[None], lesions

    def target(self, names: Sequence[str], label: np.ndarray | None, case: str) -> np.ndarray:
        """The codes (*S) as int64; those of a class map number its connected components."""
        if label is None:
            return self.within.target(names, label, case)
        if int(label.max()) <= len(self.classes):
            return self._numbered(label[0], reference_lesions.from_classes(label[0], self.classes))
        return np.asarray(label[0], dtype=np.int64)

    def _numbered(self, map_: np.ndarray, lesions: Sequence[Lesion]) -> np.ndarray:
        """The codes of a class map (*S): where a lesion shows its class, its number is added."""
        code, kinds = np.array(map_, dtype=np.int64), len(self.classes) + 1
        kept = [lesion for lesion in lesions if not lesion.ignore]
        for number, (lesion, places) in enumerate(zip(kept, truth.places(kept, map_.shape), strict=True), 1):
            own, label_of = tuple(places.T), 1 + self.classes.index(lesion.label)
            code[own] = np.where(map_[own] == label_of, label_of + kinds * number, code[own])
        return code

    def loss(self, output: Tensor | Sequence[Tensor], label: Tensor) -> Losses:
        """Focal loss of centres and L1 of log sides; see `localization.peaks`."""
        assert isinstance(output, Tensor)
        return Losses(peaks.losses(output, label, len(self.classes)), {})

    def predict(self, model: nn.Module, volume_BC: Tensor, window: Sequence[int]) -> Tensor:
        """Chances of a centre and sides in voxels (B,K+n,*S), each cell's over all of its voxels."""

        def upsampled(x_BC: Tensor) -> Tensor:
            return functional.interpolate(model(x_BC), x_BC.shape[2:], mode="nearest-exact")

        found = windows.logits(upsampled, volume_BC, window, self.within.settings.overlap, self.within.settings.mirrors)
        classes = len(self.classes)
        return torch.cat([found[:, :classes].sigmoid(), found[:, classes:].exp()], 1)

    def tuned(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The operating threshold, by validation."""
        return {"threshold": super().tuned(rows)["threshold"]}

    def metrics(self, prediction: Tensor, target: np.ndarray, spacing: Sequence[float]) -> Row:
        """One case whose lesions are the components of its codes' classes."""
        known = np.where(target > 0, target % (len(self.classes) + 1), 0)
        return super().metrics(prediction, known, spacing)

    def candidates(self, prediction: Tensor, shape: Sequence[int]) -> tuple[Candidate, ...]:
        """The peaks of chances and sides (K+n,*S)."""
        values, classes = prediction.float().cpu().numpy(), len(self.classes)
        stride = STRIDES[self.within.spatial_dims]
        return peaks.candidates(values[:classes], values[classes:], self.classes, shape, stride, candidates.MOST)


def build(
    *,
    spatial_dims: int,
    flips: tuple[int, ...] = (),
    head: Literal["heatmap"] = "heatmap",
    classes: list[str] | int | None = None,
    truth: truth.Source = "auto",
    hit: Kind = "iou",
    hit_at: float = 0.1,
    score: scores.Score = "cpm",
    least_mm3: float = 0.0,
    threshold: float | None = None,
    choose: Literal["f1", "fp"] = "f1",
    most_fp: float = 1.0,
    overlap: float = 0.5,
    mirror: bool = False,
) -> Heatmap:
    """Find lesions as peaks of a heatmap. Raises `InputError`.

    Args:
        spatial_dims: 2 or 3. The grid has a cell for 4 voxels a side in 2D, for 2 in 3D.
        flips: axes that training mirrors, for `mirror`.
        head: as `localize` has it.
        classes: this and all other keys: as in `localize`. Masks of lesions give their boxes.
        truth: what shows lesions.
        hit: when a candidate hits a lesion; boxes are compared.
        hit_at: the overlap of `hit`.
        score: what chooses the best weights.
        least_mm3: lesions under this size are ignored by scores.
        threshold: score from which on candidates are reported; null: chosen on validation.
        choose: how the threshold is chosen.
        most_fp: see `choose`.
        overlap: of windows.
        mirror: images are predicted with their mirror images.
    """
    given: dict[str, Any] = {"overlap": overlap, "mirror": mirror, "flips": flips}
    within = segment.build(spatial_dims=spatial_dims, classes=classes, **given)
    rule = Rule(hit, hit_at)
    chosen = Settings(truth, rule, score, candidates.LADDER, "max", 0, least_mm3, threshold, choose, most_fp)
    return Heatmap(within, checked(chosen))


def variant(settings: Mapping[str, Any]) -> Any:
    """The module for `settings`: which cases can be used, and what the classes are, goes by `truth`."""
    return SimpleNamespace(__name__=__name__, build=build, **by_truth(settings))
