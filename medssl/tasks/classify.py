"""Classification of whole images: global average pooling and one linear layer on an encoder.

Multi-class (one class per case, softmax and cross-entropy) or multi-label (`a;b`, sigmoids and binary cross-entropy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl.data.manifest import UNCERTAIN
from medssl.metrics import calibration, classification
from medssl.models.heads import ClassificationHead
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from medssl.data.cache import Case
    from medssl.tasks.task import Row


class Classifier(nn.Module):
    """encoder -> head: (B,C,*S) -> logits (B,K)."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x_BC: Tensor) -> Tensor:
        """Logits of each class."""
        return self.head(self.encoder(x_BC))


class Classify:
    """The task; see `build`."""

    score = "auc"
    dense = False
    parts = ("encoder",)

    def __init__(
        self,
        *,
        classes: Sequence[str],
        multilabel: bool,
        positive: str | None,
        levels: Literal["deepest", "all"],
        uncertain: Literal["ignore", "zero", "one"] = "ignore",
    ) -> None:
        self.uncertain = uncertain
        self.classes, self.multilabel, self.levels = tuple(classes), multilabel, levels
        self.positive = positive or (self.classes[-1] if len(self.classes) == 2 and not multilabel else None)

    def model(self, encoder: nn.Module, decoder: nn.Module | None) -> nn.Module:
        """A `Classifier`; the decoder is not used."""
        channels = cast("Sequence[int]", encoder.channels)
        return Classifier(encoder, ClassificationHead(channels, len(self.classes), self.levels))

    def target(self, names: Sequence[str], label: np.ndarray | None, case: str) -> np.ndarray:
        """The classes of a case as zeros and ones (K,), float32. Raises `InputError` for an unknown class."""
        unsure = {name.removesuffix(UNCERTAIN) for name in names if name.endswith(UNCERTAIN)}
        names = [name for name in names if not name.endswith(UNCERTAIN)]
        if self.uncertain == "one":
            names, unsure = sorted({*names, *unsure}), set()
        unknown = sorted({*names, *unsure} - set(self.classes))
        if unknown:
            raise InputError(
                f"case {case} has class {', '.join(unknown)}, which is not among {', '.join(self.classes)} (those of "
                "the training cases): list all classes in task.classes, or remove the case from the split"
            )
        if not self.multilabel and len(names) != 1:
            given, advice = (";".join(names), "set task.multilabel=true, or ") if names else ("no class", "")
            raise InputError(
                f"case {case} has {given}, but each case needs exactly one of {', '.join(self.classes)}: "
                f"{advice}remove it from the split"
            )
        found = np.array([name in names for name in self.classes], dtype=np.float32)
        if self.uncertain == "ignore" and self.multilabel:
            found[[name in unsure and name not in names for name in self.classes]] = np.nan
        return found

    def loss(self, output: Tensor, label: Tensor) -> Losses:
        """Cross-entropy of logits (B,K) and targets (B,K) of zeros and ones."""
        if self.multilabel:
            known = label.isfinite()
            each = functional.binary_cross_entropy_with_logits(output.float(), label.nan_to_num(), reduction="none")
            loss = (each * known).sum() / known.sum().clamp(min=1)
        else:
            loss = functional.cross_entropy(output.float(), label)
        return Losses({"cross_entropy": loss}, {})

    def predict(self, model: nn.Module, volume_BC: Tensor, window: Sequence[int]) -> Tensor:
        """Probabilities (B,K) of images that already have the size `window`."""
        logits = model(volume_BC).float()
        return logits.sigmoid() if self.multilabel else logits.softmax(1)

    def metrics(self, prediction: Tensor, target: np.ndarray, spacing: Sequence[float]) -> Row:
        """Predicted probability and true value (0 or 1) of each class, for one case."""
        probability = prediction.cpu().tolist()
        return {f"probability.{k}": p for k, p in zip(self.classes, probability, strict=True)} | {
            f"truth.{k}": float("nan") if np.isnan(t) else int(t) for k, t in zip(self.classes, target, strict=True)
        }

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """AUC and average precision (of the positive class, or the mean over classes), balanced accuracy, calibration.

        `classification.countable` says which classes are averaged, given the truth of all rows.
        """
        probability, truth = (self._table(rows, kind) for kind in ("probability", "truth"))
        aucs = dict(zip(self.classes, classification.auc(probability, truth), strict=True))
        precisions = dict(zip(self.classes, classification.average_precision(probability, truth), strict=True))
        chosen = [self.classes[k] for k in self._counted(truth)]
        scores = {"auc": _mean(aucs[k] for k in chosen), "average_precision": _mean(precisions[k] for k in chosen)}
        scores["balanced_accuracy"] = self._accuracy(probability, truth)
        scores |= self._calibration(probability, truth)
        return scores | ({} if self.positive else {f"auc.{k}": value for k, value in aucs.items()})

    def resampled(self, rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """The AUC of the rows with given indices; NaN if a class that counts over all rows does not occur in them."""
        probability, truth = (self._table(rows, kind) for kind in ("probability", "truth"))
        chosen = self._counted(truth)
        probability, truth = probability[:, chosen], truth[:, chosen]
        return lambda i: _mean(classification.auc(probability[i], truth[i]), every=True)

    def no_image_baseline(self, training: Sequence[np.ndarray], cases: Sequence[np.ndarray]) -> None:
        """None: without an image, the AUC is 0.5."""
        return None

    def _counted(self, truth_NK: np.ndarray) -> list[int]:
        """The indices of the classes whose scores are averaged."""
        return [self.classes.index(self.positive)] if self.positive else classification.countable(truth_NK)

    def _calibration(self, probability_NK: np.ndarray, truth_NK: np.ndarray) -> dict[str, float]:
        """Of the positive class, or the mean over labels; of exclusive classes, top-label ECE and the Brier sum."""
        known = classification.known(probability_NK, truth_NK)
        brier = [calibration.brier(p, t) for p, t in known]
        if not self.multilabel and not self.positive:
            return {"ece": calibration.top_label_error(probability_NK, truth_NK.argmax(1)), "brier": sum(brier)}
        columns = [self.classes.index(self.positive)] if self.positive else list(range(len(self.classes)))
        errors = (calibration.calibration_error(*known[k]) for k in columns)
        return {"ece": _mean(errors), "brier": _mean(brier[k] for k in columns)}

    def _accuracy(self, probability_NK: np.ndarray, truth_NK: np.ndarray) -> float:
        if not self.multilabel:
            return classification.balanced_accuracy(probability_NK.argmax(1), truth_NK.argmax(1))
        known = classification.known(probability_NK, truth_NK)
        return _mean(classification.balanced_accuracy(p >= 0.5, t == 1) for p, t in known if len(t))

    def _table(self, rows: Sequence[Row], kind: str) -> np.ndarray:
        return np.array([[row[f"{kind}.{name}"] for name in self.classes] for row in rows], dtype=float)


def build(
    *,
    classes: list[str] | None = None,
    multilabel: bool = False,
    positive: str | None = None,
    levels: Literal["deepest", "all"] = "deepest",
    uncertain: Literal["ignore", "zero", "one"] = "ignore",
) -> Classify:
    """Classify whole images.

    `classes`: their names, or None for the sorted names in the training labels; until those are read, two stand for
    them. `positive` is the class whose AUC is reported in a two-class task: by default the last. `levels`: those of the
    encoder that the head sees, the deepest or all, each averaged over the image. `uncertain`: of several labels, those
    written `Edema?` are left out of loss and scores, or count as absent (zero) or present (one), as the U-Ignore,
    U-Zeros and U-Ones of Irvin et al. 2019 (CheXpert, section 3.1). Raises `InputError`.
    """
    known = ["", positive or "positive"] if classes is None else classes
    if len(known) < 2 and not (multilabel and known):
        raise InputError(
            f"task classify needs two classes or more, but it has {known}: see the class column of the manifest"
        )
    if positive is not None and positive not in known:
        raise InputError(f"task.positive '{positive}' is not one of the classes {', '.join(known)}")
    return Classify(classes=known, multilabel=multilabel, positive=positive, levels=levels, uncertain=uncertain)


def labelled(case: Case) -> bool:
    """Whether a case can be trained or tested on."""
    return bool(case.classes)


def names(given: list[str] | None, cases: Sequence[Case], read: Callable[[str], Any]) -> list[str]:
    """The classes: as given, or all that the training cases have, sorted."""
    return given or sorted({name.removesuffix(UNCERTAIN) for case in cases for name in case.classes})


def _mean(values: Iterable[float], *, every: bool = False) -> float:
    """Mean of the known values, or NaN unless all are known."""
    found = torch.tensor(list(values), dtype=torch.float64)
    return float(found.mean() if every else found.nanmean())
