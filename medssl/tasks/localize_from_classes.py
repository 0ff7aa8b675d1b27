"""Weakly supervised localization: a classifier trained on image labels, and where in an image its evidence is.

It is trained exactly as `classify`; boxes are used only to choose the threshold of the maps, and then only those of
validation patients (Choe et al. 2020). `task: {kind: localize, from: classes}` is this task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor, nn

from medssl.localization import heat, scores, truth, weak_scores
from medssl.localization.weak_scores import Cut
from medssl.metrics.lesions import Findings
from medssl.metrics.matching import Rule
from medssl.tasks import classify
from medssl.tasks.classify import labelled, names
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medssl.data.cache import Case
    from medssl.localization.heat import Heat
    from medssl.metrics.lesions import Candidate, Lesion
    from medssl.tasks.classify import Classify
    from medssl.tasks.task import Row

__all__ = ["FromClasses", "build", "labelled", "names"]

Score = Literal["auc", "accuracy", "cpm"]


class FromClasses:
    """The task; see `build`."""

    dense = False
    randomised = True  # the test is repeated with untrained weights
    reporting = 0.5
    parts = ("encoder",)

    def __init__(self, within: Classify, score: Score, level: int | None, cut: Cut | None, rule: Rule) -> None:
        self.within, self.score, self.level, self.cut, self.rule = within, score, level, cut, rule
        self.classes, self.model, self.target, self.loss = within.classes, within.model, within.target, within.loss
        self.no_image_baseline = within.no_image_baseline
        self.located = (within.positive,) if within.positive else within.classes

    @property
    def undecided(self) -> bool:
        """Whether the threshold of the maps is chosen on validation."""
        return self.cut is None

    def truth(self, case: Case, label: np.ndarray | None) -> tuple[None, tuple[Lesion, ...] | None]:
        """No label volume, and the lesions; None for a case that was not searched."""
        if not truth.labelled(case, "auto"):
            return None, None
        return None, truth.of_case(case, label, self.located, "auto").lesions

    def predict(self, model: nn.Module, volume_BC: Tensor, window: Sequence[int]) -> Any:
        """The logits and maps of images that already have the size `window`, one `Heat` each."""
        if not hasattr(model, "encoder"):  # logits only
            logits = model(volume_BC).float()
            return [heat.Heat(one, one.new_zeros(len(one), *[1] * (volume_BC.ndim - 2))) for one in logits]
        return heat.grad_cam(model.encoder, model.head, volume_BC, self.level)

    def probability(self, prediction: Heat) -> Tensor:
        """Probabilities (K,) of one image."""
        return prediction.logits.sigmoid() if self.within.multilabel else prediction.logits.softmax(0)

    def metrics(self, prediction: Heat, target: np.ndarray, spacing: Sequence[float]) -> Row:
        """Predicted probability and true value of each class, for one case."""
        return self.within.metrics(self.probability(prediction), target, spacing)

    def found(
        self,
        prediction: Heat,
        target: np.ndarray,
        lesions: Sequence[Lesion] | None,
        spacing: Sequence[float],
        shape: Sequence[int],
    ) -> Row:
        """Probabilities of one case, and, if it was searched, its lesions, candidates and maps."""
        row = self.metrics(prediction, target, spacing)
        if lesions is None:
            return row
        maps = {name: heat.stored(prediction.maps[self.classes.index(name)]) for name in self.located}
        image = Findings(tuple(spacing), tuple(lesions), self.candidates(prediction, shape), tuple(shape))
        return row | {"findings": image.as_json(), "heat": maps}

    def candidates(self, prediction: Heat, shape: Sequence[int]) -> tuple[Candidate, ...]:
        """The boxes of all classes on the grid of an image of `shape`, with Otsu's threshold until one is chosen."""
        cut: Cut = "otsu" if self.cut is None else self.cut
        probability = self.probability(prediction)
        found: list[Candidate] = []
        for name in self.located:
            k = self.classes.index(name)
            map_ = heat.restored(heat.stored(prediction.maps[k]), shape)
            found += weak_scores.candidates(map_, name, cut, float(probability[k]))
        return tuple(found)

    def tuned(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The threshold of the maps, chosen with the boxes of validation cases."""
        return {"cut": weak_scores.best_cut(rows, self.located)}

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Scores of the classifier, of boxes and maps (over classes with lesions), and FROC over all images."""
        summed = self.within.summary(rows)
        found = {name: weak_scores.located(rows, name) for name in self.located}
        found = {name: each for name, each in found.items() if any(one.truth.any() for one in each)}
        if not found:
            return summed | {"accuracy": float("nan"), "cpm": float("nan")}
        summed |= weak_scores.mean_over({name: weak_scores.of_class(each) for name, each in found.items()})
        summed["accuracy"] = self._accuracy(rows)(np.arange(len(rows)))
        searched = scores.findings([row for row in rows if "findings" in row])
        froc = scores.summary(searched, self.located, self.rule, None)
        return summed | {name: value for name, value in froc.items() if not name.startswith(("ap", "lesion_"))}

    def details(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The curves, and the baselines without a network."""
        searched = [row for row in rows if "findings" in row]
        patients = [row["patient"] for row in searched]
        found = {name: weak_scores.located(searched, name) for name in self.located}
        floors = {
            name: weak_scores.no_network(each, patients)
            for name, each in found.items()
            if any(one.truth.any() for one in each)
        }
        hit = {"kind": self.rule.kind, "threshold": self.rule.threshold}
        curves = scores.curves(scores.findings(searched), self.located, self.rule)
        return {"hit": hit, "cut": self.cut, "floors": floors, "froc": curves}

    def resampled(self, rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """The score of the rows with given indices."""
        if self.score == "auc":
            return self.within.resampled(rows)
        if self.score == "accuracy":
            return self._accuracy(rows)
        searched = [number for number, row in enumerate(rows) if "findings" in row]
        place = {number: at for at, number in enumerate(searched)}
        of = scores.resampled(scores.findings([rows[n] for n in searched]), self.located, self.rule, "cpm")
        return lambda i: of(np.array([place[n] for n in i if n in place], dtype=int))

    def _accuracy(self, rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """Accuracy of the hottest box, averaged over the overlaps, for all boxes of the rows with given indices."""
        gained, boxes = np.zeros(len(rows)), np.zeros(len(rows))
        searched = [number for number, row in enumerate(rows) if "findings" in row]
        images = scores.findings([rows[n] for n in searched])
        for name in self.located:
            one, other = weak_scores.mean_accuracy([image.of_class(name) for image in images])
            gained[searched] += one
            boxes[searched] += other
        return lambda i: float(gained[i].sum() / boxes[i].sum()) if boxes[i].sum() else float("nan")


def build(
    *,
    from_: Literal["classes"] = "classes",
    classes: list[str] | None = None,
    multilabel: bool = False,
    positive: str | None = None,
    score: Score = "auc",
    level: int | None = None,
    cut: Cut | None = None,
    hit: Literal["centre", "iou", "overlap", "iobb"] = "iou",
    hit_at: float = 0.1,
) -> FromClasses:
    """Classify whole images, and localize the evidence by Grad-CAM. Raises `InputError`.

    Args:
        from_: as in `localize`.
        classes: their names, as in `classify`; boxes and label volumes show lesions of these (of two classes: of the
            positive one).
        multilabel: an image may have several classes.
        positive: the class to localize if there are two; by default the last.
        score: chooses the best weights and is compared: `auc` of the classes; `accuracy` of the hottest box,
            averaged over the overlaps .1 to .6; or `cpm` of the FROC.
        level: the encoder level of the maps; null: the deepest with at least 14 cells per side.
        cut: fraction of a map's peak that voxels of a box must reach, `otsu`, or `two_level` (.235 and .706, as in
            ChestX-ray8); null: chosen with the boxes of validation cases, or Otsu's without any.
        hit: when a candidate hits a lesion, for the FROC.
        hit_at: the overlap for `hit`.
    """
    if isinstance(cut, float) and not 0 < cut < 1:
        raise InputError(f"task.cut={cut} is a fraction of a map's peak: give a number between 0 and 1")
    within = classify.build(classes=classes, multilabel=multilabel, positive=positive)
    return FromClasses(within, score, level, cut, Rule(hit, hit_at))
