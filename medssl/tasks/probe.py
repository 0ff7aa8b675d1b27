"""Probe a frozen encoder: train a simple classifier on its features, never the encoder itself.

`of: classes` probes whole images (see `classify`), `of: labels` every voxel (see `segment`). `medssl finetune` runs it
through `medssl.finetuning.probe` and reports beside it the scores of untrained networks and of the pixels alone.

Arguments of `build`:
    spatial_dims: 2 or 3.
    of: probe the `classes` of images, or the `labels` of their voxels (a dense probe on all levels).
    classes: names, as `classify` or `segment` take them; null: those of the training cases.
    multilabel: an image may have several classes.
    positive: the class whose AUC is the score if there are two; by default the last.
    method: `logistic` regression or nearest `neighbours`; the other is reported beside it.
    pool: the features: `mean` of a level over the image, `mean_std` (with standard deviations), or `all_levels`.
    level: the level, 0 the finest, -1 the deepest.
    untrained: how many untrained networks are reported beside it.
    shots: also probe with only so many training images per class, for example [1, 5, 25].
    draws: how many times the images are drawn for each number in `shots`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor, nn

from medssl.tasks import classify, segment
from medssl.tasks.classify import Classify
from medssl.tasks.segment import Segment
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medssl.types import Features

ROOMS = {"classes": classify, "labels": segment}


class Settings(NamedTuple):
    """Settings of a probe."""

    method: Literal["logistic", "neighbours"]
    pool: Literal["mean", "mean_std", "all_levels"]
    level: int
    untrained: int
    shots: tuple[int, ...]
    draws: int


class Encoder(nn.Module):
    """The encoder alone, without gradients."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)

    def forward(self, x_BC: Tensor) -> Features:
        """The feature maps."""
        return self.encoder(x_BC)


class Probe:
    """A task with the scores of the task `within`, whose network is a frozen encoder."""

    parts: tuple[str, ...] = ("encoder",)

    def __init__(self, within: Classify | Segment, settings: Settings) -> None:
        self.within, self.settings = within, settings
        self.classes, self.score, self.dense = within.classes, within.score, within.dense
        self.multilabel = isinstance(within, Classify) and within.multilabel
        self.target, self.loss, self.predict = within.target, within.loss, within.predict
        self.metrics, self.summary, self.resampled = within.metrics, within.summary, within.resampled
        self.no_image_baseline = within.no_image_baseline

    def model(self, encoder: nn.Module, decoder: nn.Module | None) -> nn.Module:
        """The encoder; the decoder is not used."""
        return Encoder(encoder)


def build(
    *,
    spatial_dims: int,
    of: Literal["classes", "labels"] = "classes",
    classes: list[str] | int | None = None,
    multilabel: bool = False,
    positive: str | None = None,
    method: Literal["logistic", "neighbours"] = "logistic",
    pool: Literal["mean", "mean_std", "all_levels"] = "mean",
    level: int = -1,
    untrained: int = 4,
    shots: list[int] | None = None,
    draws: int = 10,
) -> Probe:
    """Probe a frozen encoder. Raises `InputError`."""
    if untrained < 0 or draws < 1 or any(n < 1 for n in shots or []):
        raise InputError(
            f"task.untrained={untrained}, task.draws={draws}, task.shots={shots}: give counts of 1 or more"
        )
    within: Classify | Segment
    if of == "labels":
        within = segment.build(spatial_dims=spatial_dims, classes=classes, floor=True)
    elif isinstance(classes, int):
        raise InputError(f"task.classes={classes} is a number, but task.of=classes needs names: give a list")
    else:
        within = classify.build(classes=classes, multilabel=multilabel, positive=positive)
    return Probe(within, Settings(method, pool, level, untrained, tuple(shots or ()), draws))


def variant(settings: Mapping[str, Any]) -> Any:
    """The module for these settings: `of` decides which cases can be used and what the classes are."""
    room = ROOMS.get(settings.get("of", "classes"), classify)
    return SimpleNamespace(__name__=__name__, build=build, names=room.names, labelled=room.labelled)
