"""Segmentation: encoder and decoder with a 1x1 convolution, cross-entropy + soft Dice, sliding-window inference.

Arguments of `build`:
    spatial_dims: 2 or 3.
    flips: axes that training mirrors, for `mirror`.
    classes: names of the values 1..K, or the number of values including background; in a recipe, null counts them
        in the training labels.
    pooled: whether the sums of the Dice loss run over the "batch", or over each "sample".
    smooth: the constant that is added to numerator and denominator of the Dice loss.
    overlap: share of a window that the next one covers, at inference.
    tolerance: in mm; if given, surface distances are reported too.
    floor: also report the Dice of the mean training label, which is meaningful if all volumes frame the same
        organ alike.
    mirror: average over mirror images along the axes that training mirrors.
    deep_supervision: losses on all levels of the decoder but the coarsest.
    keep: of each class `all` components, the `largest`, or `auto`: what is better on validation.
    instances: labels number things from 1 on; all of them are class 1.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl.losses import at_least_float32, labels_at, soft_dice_loss
from medssl.metrics import prior, segmentation
from medssl.metrics.reference_lesions import largest
from medssl.models import windows
from medssl.models.segmenter import Segmenter
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medssl.data.cache import Case
    from medssl.tasks.task import Row


class Settings(NamedTuple):
    """What `build` takes beside dimensions and classes; see there."""

    pooled: Literal["batch", "sample"] = "batch"
    smooth: float = 1.0
    overlap: float = 0.5
    tolerance: float | None = None
    floor: bool = False
    mirrors: tuple[int, ...] = ()
    deep_supervision: bool = False
    keep: Literal["all", "largest", "auto"] = "all"
    instances: bool = False


class Segment:
    """The task; see `build`."""

    score = "dice"
    dense = True
    parts = ("encoder", "decoder")

    def __init__(self, *, spatial_dims: int, classes: Sequence[str], **settings: Any) -> None:
        self.spatial_dims, self.classes, self.settings = spatial_dims, tuple(classes), Settings(**settings)

    def model(self, encoder: nn.Module, decoder: nn.Module | None) -> nn.Module:
        """A `Segmenter`. Raises `InputError` without a decoder."""
        if decoder is None:
            raise InputError("task segment needs a decoder, but decoder is null: set decoder.kind=unet")
        outputs, deep = len(self.classes) + 1, self.settings.deep_supervision
        return Segmenter(self.spatial_dims, encoder, decoder, outputs, deep=deep)

    def target(self, names: Sequence[str], label: np.ndarray | None, case: str) -> np.ndarray:
        """The label volume (*S) as int64. Raises `InputError` if it is missing or has an unknown value."""
        if label is None:
            raise InputError(f"case {case} has no label volume: remove it from the split, or scan again with --labels")
        if self.settings.instances:
            return np.asarray(label[0] > 0, dtype=np.int64)
        low, high = int(label.min()), int(label.max())
        if low < 0 or high > len(self.classes):
            known = f"0..{len(self.classes)} ({', '.join(self.classes)})"
            raise InputError(
                f"the label of case {case} has values from {low} to {high}, but the task has {known}: set "
                "task.classes=null to count them, or, if there are gaps as in masks of 0 and 255, run `medssl prepare` "
                f"with --label-map {high}=1"
            )
        return np.asarray(label[0], dtype=np.int64)

    def loss(self, output: Tensor | Sequence[Tensor], label: Tensor) -> Losses:
        """Cross-entropy and soft Dice of logits (B,K,*S) and labels (B,*S) int64.

        Of several levels the sum with weights that halve from level to level and are 1 together; labels are taken at
        the size of each, nearest voxel (nnU-Net).
        """
        if isinstance(output, Tensor):
            return self._loss(output, label)
        weights = [0.5**level for level in range(len(output))]
        found = [self._loss(each, labels_at(label, each.shape[2:])).main for each in output]
        names = found[0]
        summed = {
            name: torch.stack([w * each[name] for w, each in zip(weights, found, strict=True)]).sum() / sum(weights)
            for name in names
        }
        return Losses(summed, {})

    def _loss(self, output: Tensor, label: Tensor) -> Losses:
        logits = at_least_float32(output)
        probability = logits.softmax(1)
        truth = functional.one_hot(label, output.shape[1]).movedim(-1, 1).to(probability.dtype)
        dice = soft_dice_loss(probability, truth, self.settings.smooth, self.settings.pooled)
        return Losses({"cross_entropy": functional.cross_entropy(logits, label), "dice": dice}, {})

    def predict(self, model: nn.Module, volume_BC: Tensor, window: Sequence[int]) -> Tensor:
        """Probabilities (B,K,*S): Gaussian-weighted windows; a smaller volume is padded with 0, as in training."""
        return windows.logits(model, volume_BC, window, self.settings.overlap, self.settings.mirrors).softmax(1)

    def mask(self, prediction: Tensor) -> np.ndarray:
        """The class of each voxel of probabilities (K,*S), of each class the largest component if that is asked for."""
        found = prediction.argmax(0).cpu().numpy()
        return largest(found) if self.settings.keep == "largest" else found

    @property
    def undecided(self) -> bool:
        """Whether validation has something to decide."""
        return self.settings.keep == "auto"

    def tuned(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What validation decides: whether the largest component of each class is better than all of them."""
        every, one = (np.array([row[name] for row in rows], dtype=float) for name in ("dice", "dice_of_largest"))
        better = bool(rows) and not np.isnan(one).all() and np.nanmean(one) > np.nanmean(every)
        return {"keep": "largest" if better else "all"}

    def metrics(self, prediction: Tensor, target: np.ndarray, spacing: Sequence[float]) -> Row:
        """Dice of each class (and HD95, surface Dice if a tolerance is set) of probabilities (K,*S).

        A class that the case does not have gets NaN; what was predicted of it is in `fp_ml` (in 2D `fp_mm2`) and
        `fp_components`.
        """
        mask, tolerance = self.mask(prediction), self.settings.tolerance
        row = self._dice(mask, target) | self._false_alarms(mask, target, spacing)
        if self.settings.keep == "auto":
            row["dice_of_largest"] = self._dice(largest(mask), target)["dice"]
        return row if tolerance is None else row | self._surface(mask, target, spacing, tolerance)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Means over cases; cases that do not have a class (NaN) do not count for that class.

        `fp_cases` counts the cases without a class in which it was predicted; `fp_ml` is the mean over all without it.
        """
        names = dict.fromkeys(name for row in rows for name in row)
        table = {name: np.array([row[name] for row in rows if name in row], dtype=float) for name in names}
        means = {name: float(torch.from_numpy(values).nanmean()) for name, values in table.items()}
        parts = {name.removeprefix("fp_components."): values for name, values in table.items() if "fp_comp" in name}
        return means | {f"fp_cases.{name}": float((values > 0).sum()) for name, values in parts.items()}

    def resampled(self, rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """The mean Dice of the rows with given indices."""
        values = np.array([row["dice"] for row in rows], dtype=float)
        return lambda i: float(np.nanmean(values[i])) if not np.isnan(values[i]).all() else float("nan")

    def no_image_baseline(self, training: Sequence[np.ndarray], cases: Sequence[np.ndarray]) -> dict[str, float] | None:
        """The Dice of the mean label map of the training cases, if `floor` asks for it."""
        if not self.settings.floor:
            return None
        fitted = prior.fit(list(training), len(self.classes))  # which reads each of them often
        return self.summary([self._dice(fitted.predict(case.shape), case) for case in cases])

    def _dice(self, mask: np.ndarray, target: np.ndarray) -> Row:
        scores = segmentation.dice(mask, target, len(self.classes))
        by_class = {f"dice.{name}": score for name, score in zip(self.classes, scores, strict=True)}
        return {"dice": float(torch.tensor(scores, dtype=torch.float64).nanmean()), **by_class}

    def _false_alarms(self, mask: np.ndarray, target: np.ndarray, spacing: Sequence[float]) -> Row:
        found = segmentation.false_alarms(mask, target, len(self.classes), spacing)
        unit = "fp_ml" if target.ndim == 3 else "fp_mm2"
        row: Row = {}
        for name, alarm in zip(self.classes, found, strict=True):
            if alarm is not None:
                row |= {f"{unit}.{name}": alarm.volume, f"fp_components.{name}": alarm.components}
        return row

    def _surface(self, mask: np.ndarray, target: np.ndarray, spacing: Sequence[float], tolerance: float) -> Row:
        row: Row = {}
        surfaces = segmentation.surface(mask, target, len(self.classes), spacing, tolerance)
        for name, surface in zip(self.classes, surfaces, strict=True):
            row |= {f"hd95.{name}": surface.hd95, f"nsd.{name}": surface.nsd}
        return row


def build(
    *,
    spatial_dims: int,
    flips: tuple[int, ...] = (),
    classes: list[str] | int | None = None,
    pooled: Literal["batch", "sample"] = "batch",
    smooth: float = 1.0,
    overlap: float = 0.5,
    tolerance: float | None = None,
    floor: bool = False,
    mirror: bool = False,
    deep_supervision: bool = False,
    keep: Literal["all", "largest", "auto"] = "all",
    instances: bool = False,
) -> Segment:
    """Segment label values 1..K; 0 is background. Raises `InputError`."""
    if not 0 <= overlap < 1:
        raise InputError(f"task.overlap={overlap}, by which sliding windows overlap, must be at least 0 and below 1")
    for key, value in (("smooth", smooth), ("tolerance", tolerance)):
        if value is not None and value < 0:
            raise InputError(f"task.{key}={value} must not be negative: give 0 or more")
    return Segment(
        spatial_dims=spatial_dims,
        classes=_named(classes),
        pooled=pooled,
        smooth=smooth,
        overlap=overlap,
        tolerance=tolerance,
        floor=floor,
        mirrors=tuple(flips) if mirror else (),
        deep_supervision=deep_supervision,
        keep=keep,
        instances=instances,
    )


def labelled(case: Case) -> bool:
    """Whether a case can be trained or tested on."""
    return case.has_label


def names(given: list[str] | int | None, cases: Sequence[Case], read: Callable[[str], Any]) -> list[str]:
    """Names of the label values 1..K: as given, or "1".."K" if K is given or is the largest value in the labels."""
    return _named(given if given is not None else 1 + max(int(np.max(read(case.id)[:])) for case in cases))


def variant(settings: Mapping[str, Any]) -> Any:
    """The module for `settings`: where labels number things there is one class, whatever the highest number."""
    given_names = (lambda given, cases, read: _named(given)) if settings.get("instances") else names
    return SimpleNamespace(__name__=__name__, build=build, labelled=labelled, names=given_names)


def _named(classes: list[str] | int | None) -> list[str]:
    values = 1 + len(classes) if isinstance(classes, list) else 2 if classes is None else classes
    names = classes if isinstance(classes, list) else [str(value) for value in range(1, values)]
    if not names:
        raise InputError(f"task segment needs a class besides the background, but there is {values} label value only")
    return names
