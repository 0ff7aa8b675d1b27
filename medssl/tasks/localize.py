"""Localization of lesions: a segmentation network whose probabilities become scored candidates, matched with lesions.

Candidates come from several thresholds (`metrics.candidates.ladder`): the components at .5 are the mask that Dice
scores, lower thresholds add weaker lesions. Rows keep the lesions and candidates of each image, which give all scores.

Arguments of `build`:
    spatial_dims: 2 or 3.
    flips: axes that training mirrors, for `mirror`.
    from_: the labels for training: `masks` (or boxes), or `classes` of images (see `localize_from_classes`).
    head: `masks`, or a `heatmap` of centres for tiny or touching lesions (`localize_heatmap`).
    classes: names of the values 1..K, or of the classes of boxes; null: those of the training cases.
    truth: source of lesions: `components` of the classes of a label volume, its numbered `instances`, or `boxes`
        (also points with a diameter); `auto`: the components if a case has a label volume, else its boxes.
    hit: when a candidate hits a lesion, with the overlap `hit_at`; see `metrics.matching.Rule`.
    score: the score that chooses the best weights and is compared: `cpm` of the FROC, `ap`, or `lesion_f1` at .5.
    ladder: thresholds of probability, in descending order; see `metrics.candidates.ladder`.
    peak: the score of a candidate: `max`, `p95` or `mean` of its probabilities.
    least: candidates with fewer voxels are dropped; null: the best of 0, 3, 5, 10, 20 on validation.
    least_mm3: lesions below this size (mm2 in 2D) count neither as missed nor as false positives if found.
    threshold: the lowest score of reported candidates; null: chosen on validation.
    choose: how: the best lesion-wise `f1`, or most lesions with at most `most_fp` false positives per image (`fp`).
    pooled: as in `segment`, like `smooth`, `overlap`, `mirror` and `deep_supervision`.
    smooth: constant of the Dice loss.
    overlap: share of a window that the next one covers.
    mirror: average predictions over mirrored images.
    deep_supervision: use losses on all levels of the decoder.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medssl import kinds
from medssl.localization import scores, truth, tuning
from medssl.losses import labels_at
from medssl.metrics import candidates, reference_lesions
from medssl.metrics.lesions import Findings
from medssl.metrics.matching import Kind, Rule
from medssl.tasks import segment
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medssl.data.cache import Case
    from medssl.metrics.lesions import Candidate, Lesion
    from medssl.tasks.segment import Segment
    from medssl.tasks.task import Row

SURE = 40.0  # a logit so large that its gradient vanishes
OTHERS = {("from", "classes"): "localize_from_classes", ("head", "heatmap"): "localize_heatmap"}


class Settings(NamedTuple):
    """The arguments of `build` that do not concern the network."""

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
    masks = True  # whether predictions are maps of classes, which have a Dice

    def __init__(self, within: Segment, settings: Settings) -> None:
        self.within, self.settings = within, settings
        self.classes, self.score = within.classes, settings.score
        self.model, self.predict = within.model, within.predict

    @property
    def reporting(self) -> float:
        """The lowest score of reported candidates: the chosen threshold, else that of the mask."""
        return scores.reporting(self.settings.threshold)

    @property
    def undecided(self) -> bool:
        """Whether something is to be chosen on validation."""
        return self.settings.least is None or self.settings.threshold is None

    def truth(self, case: Case, label: np.ndarray | None) -> tuple[np.ndarray, tuple[Lesion, ...]]:
        """The class map (1,*S) to train on, unknown voxels -1, and the lesions; see `localization.truth`."""
        return truth.of_case(case, label, self.classes, self.settings.truth, self.settings.least_mm3)

    def target(self, names: Sequence[str], label: np.ndarray | None, case: str) -> np.ndarray:
        """The class map (*S) as int64. Raises `InputError` if it is missing or has an unknown value."""
        if label is not None and (unknown := label == truth.UNKNOWN).any():
            return np.where(unknown[0], truth.UNKNOWN, self.within.target(names, np.where(unknown, 0, label), case))
        return self.within.target(names, label, case)

    def loss(self, output: Tensor | Sequence[Tensor], label: Tensor) -> Losses:
        """The loss of `segment`, without unknown voxels of `label`."""
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
        """Lesions and candidates of one case, and, if lesions have masks, the Dice of probabilities (K,*S)."""
        image = Findings(tuple(spacing), tuple(lesions), self.candidates(prediction, shape), tuple(shape))
        row: Row = {"findings": image.as_json()}
        if self.masks and all(lesion.region.mask is not None for lesion in lesions):
            known = torch.from_numpy(np.asarray(target) >= 0).to(prediction.device)
            background = torch.zeros_like(prediction)
            background[0] = 1
            row |= self.within.metrics(torch.where(known, prediction, background), np.maximum(target, 0), spacing)
        return row

    def candidates(self, prediction: Tensor, shape: Sequence[int]) -> tuple[Candidate, ...]:
        """The candidates of all classes from probabilities (K,*S)."""
        probability, least = prediction.float().cpu().numpy(), self.settings.least or 0
        how: dict[str, Any] = {"thresholds": self.settings.ladder, "score": self.settings.peak, "least": least}
        found = [candidates.ladder(probability[k], name, **how) for k, name in enumerate(self.classes, 1)]
        return tuple(one for each in found for one in each)

    def tuned(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Minimum size of candidates and operating threshold, chosen on validation; see `localization.tuning`."""
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
        shown = any(row["findings"]["lesions"] for row in rows if "dice" in row)  # else there are only boxes
        return summed | (self.within.summary(masked) if shown else {})

    def details(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The curves, and the threshold for each rate of false positives."""
        images = scores.findings(rows)
        full = sum(len(image.candidates) >= candidates.MOST for image in images)
        hit = {"kind": self.settings.rule.kind, "threshold": self.settings.rule.threshold}
        cut = {"most_candidates": candidates.MOST, "images_at_most": full}
        return {"hit": hit, **cut, "froc": scores.curves(images, self.classes, self.settings.rule)}

    def resampled(self, rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """The score of the rows with given indices."""
        return scores.resampled(scores.findings(rows), self.classes, self.settings.rule, self.settings.score)

    def no_image_baseline(self, training: Sequence[np.ndarray], cases: Sequence[np.ndarray]) -> None:
        """None: without an image, lesions cannot be located."""
        return None


def build(
    *,
    spatial_dims: int,
    flips: tuple[int, ...] = (),
    from_: Literal["masks", "classes"] = "masks",
    head: Literal["masks", "heatmap"] = "masks",
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
    """Localize lesions, with a score for each. Raises `InputError`."""
    falling = all(a > b for a, b in pairwise(ladder))
    if not ladder or not falling or not 0 < ladder[-1] <= ladder[0] < 1:
        raise InputError(f"task.ladder={list(ladder)} must be probabilities between 0 and 1 in descending order")
    given: dict[str, Any] = {"pooled": pooled, "smooth": smooth, "overlap": overlap, "mirror": mirror, "flips": flips}
    given["deep_supervision"] = deep_supervision
    within = segment.build(spatial_dims=spatial_dims, classes=classes, **given)
    rule = Rule(hit, hit_at)
    chosen = Settings(truth, rule, score, tuple(ladder), peak, least, least_mm3, threshold, choose, most_fp)
    return Localize(within, checked(chosen))


def checked(settings: Settings) -> Settings:
    """The settings, none of which may be negative. Raises `InputError`."""
    numbers = {"hit_at": settings.rule.threshold, "least": settings.least}
    for key, value in {**numbers, "least_mm3": settings.least_mm3, "most_fp": settings.most_fp}.items():
        if value is not None and value < 0:
            raise InputError(f"task.{key}={value} must not be negative: give 0 or more")
    return settings


def variant(settings: Mapping[str, Any]) -> Any:
    """The module for `settings`: the task may be another, and which cases and classes there are goes by `truth`."""
    other = next((name for (key, value), name in OTHERS.items() if settings.get(key) == value), None)
    if other is None:
        return SimpleNamespace(__name__=__name__, build=build, **by_truth(settings))
    found = kinds.varied(kinds.resolve("task", other), settings)
    return SimpleNamespace(__name__=__name__, build=found.build, names=found.names, labelled=found.labelled)


def by_truth(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`names` and `labelled` of a task whose lesions are shown by `truth`."""
    source: truth.Source = settings.get("truth", "auto")
    names = partial(truth.names, source=source, of_masks=segment.names)
    return {"names": names, "labelled": partial(truth.labelled, source=source)}


def _background_where(unknown: Tensor, logits_BK: Tensor) -> Tensor:
    """Logits that are certain of the background, without gradient, at unknown voxels."""
    sure = torch.full_like(logits_BK, -SURE)
    sure[:, 0] *= -1
    return torch.where(unknown[:, None], sure, logits_BK)
