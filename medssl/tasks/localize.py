"""Localization of lesions: a segmentation network whose probabilities become scored candidates, matched with lesions.

Candidates come from a ladder of thresholds (`metrics.candidates.ladder`): what is found at .5 is the mask that Dice
scores, and weaker lesions follow. Rows keep the lesions and candidates of each image, from which every score follows.
"""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medssl.localization import scores, truth, tuning
from medssl.losses import labels_at
from medssl.metrics import candidates, reference_lesions
from medssl.metrics.lesions import Findings
from medssl.metrics.matching import Kind, Rule
from medssl.tasks import localize_from_classes, segment
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medssl.data.cache import Case
    from medssl.metrics.lesions import Candidate, Lesion
    from medssl.tasks.segment import Segment
    from medssl.tasks.task import Row

SURE = 40.0  # a logit of which nothing is left to learn


class Settings(NamedTuple):
    """What `build` takes beside what the network is; see there."""

    truth: truth.Source
    rule: Rule
    score: scores.Score
    ladder: tuple[float, ...]
    peak: candidates.Score
    least: int | None
    least_mm3: float
    threshold: float | None
    choose: Literal["f1", "fp"]
    most_fp: float


class Localize:
    """The task; see `build`."""

    dense = True
    parts = ("encoder", "decoder")

    def __init__(self, within: Segment, settings: Settings) -> None:
        self.within, self.settings = within, settings
        self.classes, self.score = within.classes, settings.score
        self.model, self.predict, self.mask = within.model, within.predict, within.mask

    @property
    def reporting(self) -> float:
        """The score from which on a candidate is reported: the chosen threshold, else that of the mask."""
        return scores.MASK if self.settings.threshold is None else self.settings.threshold

    @property
    def undecided(self) -> bool:
        """Whether validation has something to decide."""
        return self.settings.least is None or self.settings.threshold is None

    def truth(self, case: Case, label: np.ndarray | None) -> tuple[np.ndarray, tuple[Lesion, ...]]:
        """The class map (1,*S) to train on, unknown voxels -1, and the lesions; see `localization.truth`."""
        return truth.of_case(case, label, self.classes, self.settings.truth, self.settings.least_mm3)

    def target(self, names: Sequence[str], label: np.ndarray | None, case: str) -> np.ndarray:
        """The class map (*S) as int64; raises `InputError` where it is missing or holds an unknown value."""
        if label is not None and (unknown := label == truth.UNKNOWN).any():
            return np.where(unknown[0], truth.UNKNOWN, self.within.target(names, np.where(unknown, 0, label), case))
        return self.within.target(names, label, case)

    def loss(self, output: Tensor | Sequence[Tensor], label: Tensor) -> Losses:
        """That of `segment`; where `label` is unknown nothing is learned."""
        unknown = label < 0
        if not unknown.any():
            return self.within.loss(output, label)
        each = [output] if isinstance(output, Tensor) else output
        hidden = [_background_where(labels_at(unknown.long(), o.shape[2:]) > 0, o) for o in each]
        return self.within.loss(hidden[0] if isinstance(output, Tensor) else hidden, label.clamp(min=0))

    def metrics(self, prediction: Tensor, target: np.ndarray, spacing: Sequence[float]) -> Row:
        """One case whose lesions are the connected components of its class map."""
        lesions = reference_lesions.from_classes(target, self.classes)
        return self.found(prediction, target, lesions, spacing, target.shape)

    def found(
        self,
        prediction: Tensor,
        target: np.ndarray,
        lesions: Sequence[Lesion],
        spacing: Sequence[float],
        shape: Sequence[int],
    ) -> Row:
        """Lesions and candidates of one case, and where lesions have masks the Dice of probabilities (K,*S)."""
        image = Findings(tuple(spacing), tuple(lesions), self.candidates(prediction, shape), tuple(shape))
        row: Row = {"findings": image.as_json()}
        if all(lesion.region.mask is not None for lesion in lesions):
            known = torch.from_numpy(np.asarray(target) >= 0).to(prediction.device)
            background = torch.zeros_like(prediction)
            background[0] = 1
            row |= self.within.metrics(torch.where(known, prediction, background), np.maximum(target, 0), spacing)
        return row

    def candidates(self, prediction: Tensor, shape: Sequence[int]) -> tuple[Candidate, ...]:
        """The candidates of probabilities (K,*S), of every class."""
        probability, least = prediction.float().cpu().numpy(), self.settings.least or 0
        how: dict[str, Any] = {"thresholds": self.settings.ladder, "score": self.settings.peak, "least": least}
        found = [candidates.ladder(probability[k], name, **how) for k, name in enumerate(self.classes, 1)]
        return tuple(one for each in found for one in each)

    def tuned(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The least size of candidates and the operating threshold, by validation; see `localization.tuning`."""
        images, rule = scores.findings(rows), self.settings.rule
        least, threshold = self.settings.least, self.settings.threshold
        if least is None:
            least = tuning.best_least(images, self.classes, rule)
        if threshold is None:
            kept = [tuning.with_least(image, least) for image in images]
            choose, most_fp = self.settings.choose, self.settings.most_fp
            threshold = tuning.best_threshold(kept, self.classes, rule, choose, most_fp)
        return {"least": least, "threshold": threshold}

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """FROC, AP and lesion-wise scores, the operating point if there is one, and the Dice of masks."""
        summed = scores.summary(scores.findings(rows), self.classes, self.settings.rule, self.settings.threshold)
        masked = [{k: v for k, v in row.items() if k != "findings"} for row in rows if "dice" in row]
        shown = any(row["findings"]["lesions"] for row in rows if "dice" in row)  # else there are boxes alone
        return summed | (self.within.summary(masked) if shown else {})

    def details(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The curves, and the scores to set for each rate of false positives."""
        images = scores.findings(rows)
        full = sum(len(image.candidates) >= candidates.MOST for image in images)
        hit = {"kind": self.settings.rule.kind, "threshold": self.settings.rule.threshold}
        cut = {"most_candidates": candidates.MOST, "images_at_most": full}
        return {"hit": hit, **cut, "froc": scores.curves(images, self.classes, self.settings.rule)}

    def resampled(self, rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """The score of the rows with given indices."""
        return scores.resampled(scores.findings(rows), self.classes, self.settings.rule, self.settings.score)

    def no_image_baseline(self, training: Sequence[np.ndarray], cases: Sequence[np.ndarray]) -> None:
        """None: what sees no image finds no lesion at a place of its own."""
        return None


def build(
    *,
    spatial_dims: int,
    flips: tuple[int, ...] = (),
    from_: Literal["masks", "classes"] = "masks",
    classes: list[str] | int | None = None,
    truth: truth.Source = "auto",
    hit: Kind = "iou",
    hit_at: float = 0.1,
    score: scores.Score = "cpm",
    ladder: tuple[float, ...] = candidates.LADDER,
    peak: candidates.Score = "max",
    least: int | None = None,
    least_mm3: float = 0.0,
    threshold: float | None = None,
    choose: Literal["f1", "fp"] = "f1",
    most_fp: float = 1.0,
    pooled: Literal["batch", "sample"] = "batch",
    smooth: float = 1.0,
    overlap: float = 0.5,
    mirror: bool = False,
    deep_supervision: bool = False,
) -> Localize:
    """Find lesions and say how sure the network is of each. Raises `InputError`.

    Args:
        spatial_dims: 2 or 3.
        flips: axes that training mirrors, for `mirror`.
        from_: what is learned from: `masks` (or boxes), or `classes` of whole images; then see
            `localize_from_classes`.
        classes: names of the values 1..K, or of the classes of boxes; null: those of the training cases.
        truth: what shows lesions: `components` of a label volume's classes, `instances` that it numbers, or `boxes`
            (points with a diameter too); `auto`: the components where a case has a label volume, else its boxes.
        hit: when a candidate hits a lesion, with the overlap `hit_at`; see `metrics.matching.Rule`.
        score: what chooses the best weights and is compared: `cpm` of the FROC, `ap`, or `lesion_f1` at .5.
        ladder: thresholds of probability, falling; see `metrics.candidates.ladder`.
        peak: the score of a candidate: the `max`, `p95` or `mean` of its probabilities.
        least: candidates of fewer voxels are left out; null: what validation likes best of 0, 3, 5, 10, 20.
        least_mm3: lesions under this size (mm2 in 2D) are neither asked for nor held against what finds them.
        threshold: score from which on candidates are reported; null: chosen on validation.
        choose: that threshold has the best lesion-wise `f1`, or finds most with `most_fp` false positives per image.
        most_fp: see `choose`.
        pooled: as `segment` takes it, and `smooth`, `overlap`, `mirror`, `deep_supervision` too.
        smooth: of the Dice loss.
        overlap: of windows.
        mirror: images are predicted with their mirror images.
        deep_supervision: losses on all levels of the decoder.
    """
    falling = all(a > b for a, b in pairwise(ladder))
    if not ladder or not falling or not 0 < ladder[-1] <= ladder[0] < 1:
        raise InputError(f"task.ladder={list(ladder)} must be falling probabilities between 0 and 1")
    for key, value in (("hit_at", hit_at), ("least", least), ("least_mm3", least_mm3), ("most_fp", most_fp)):
        if value is not None and value < 0:
            raise InputError(f"task.{key}={value} must not be negative: give 0 or more")
    given: dict[str, Any] = {"pooled": pooled, "smooth": smooth, "overlap": overlap, "mirror": mirror, "flips": flips}
    given["deep_supervision"] = deep_supervision
    within = segment.build(spatial_dims=spatial_dims, classes=classes, **given)
    chosen = (score, tuple(ladder), peak, least, least_mm3, threshold, choose, most_fp)
    return Localize(within, Settings(truth, Rule(hit, hit_at), *chosen))


def variant(settings: Mapping[str, Any]) -> Any:
    """The module for `settings`: which cases can be used, and what the classes are, goes by `truth`."""
    if settings.get("from") == "classes":
        weak = localize_from_classes
        return SimpleNamespace(__name__=__name__, build=weak.build, names=weak.names, labelled=weak.labelled)
    source: truth.Source = settings.get("truth", "auto")

    def labelled(case: Case) -> bool:
        return truth.labelled(case, source)

    def names(given: list[str] | int | None, cases: Sequence[Case], read: Callable[[str], Any]) -> list[str]:
        masked = [case for case in cases if case.has_label and source != "boxes"]
        if given is not None:
            return segment.names(given, cases, read)
        if source == "instances":
            return [truth.LESION]
        return segment.names(None, masked, read) if masked else _of_boxes(cases)

    return SimpleNamespace(__name__=__name__, build=build, names=names, labelled=labelled)


def _of_boxes(cases: Sequence[Case]) -> list[str]:
    found = truth.names_of_boxes(cases)
    if not found:
        raise InputError("no training case has a lesion, neither in a label volume nor as a box: train on some that do")
    return found


def _background_where(unknown: Tensor, logits_BK: Tensor) -> Tensor:
    """Logits that are sure of the background, and pass no gradient, where a voxel is unknown."""
    sure = torch.full_like(logits_BK, -SURE)
    sure[:, 0] *= -1
    return torch.where(unknown[:, None], sure, logits_BK)
