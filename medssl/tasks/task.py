"""The interface of a task for the loop of `finetune`: a network on an encoder, a loss, a prediction, and scores.

The module of a task has `build` (its arguments are the recipe's `task` group), `names(given, cases, read)` (the
classes: as given in the recipe, or from the training cases; `read(id)` gives a label volume) and `labelled(case)`
(whether a case can be used). If these depend on the task's settings, `variant(settings)` returns them.
N cases; a row is a dictionary of numbers and strings about one case, as results.json stores it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor, nn

    from medssl.types import Losses

Row = dict[str, Any]


class Task(Protocol):
    """One downstream task; `medssl.tasks.KIND.build(*, spatial_dims, classes, ...)` makes it."""

    classes: tuple[str, ...]  # the names of what is predicted
    score: str  # the entry of `summary` that chooses the best checkpoint; higher is better
    dense: bool  # true: trained on patches and label volumes; false: on whole images and class names
    parts: tuple[str, ...]  # the parts of a pretraining that are loaded by default

    def model(self, encoder: nn.Module, decoder: nn.Module | None) -> nn.Module:
        """The network (B,C,*S) -> logits, with submodules `encoder`, `head` and, if used, `decoder`."""

    def target(self, names: Sequence[str], label: np.ndarray | None, case: str) -> np.ndarray:
        """The target of a case, for loss and scores, from its class names and its label volume (1,*S)."""

    def loss(self, output: Tensor, label: Tensor) -> Losses:
        """Losses of logits and a batch of targets."""

    def predict(self, model: nn.Module, volume_BC: Tensor, window: Sequence[int]) -> Tensor:
        """Probabilities: (B,K,*S) if dense, else (B,K); `window` is the size that the network was trained with."""

    def metrics(self, prediction: Tensor, target: np.ndarray, spacing: Sequence[float]) -> Row:
        """Scores of one case from probabilities without the batch axis, its target, and its spacing in mm."""

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """The scores of a set of cases."""

    def resampled(self, rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """A fast function of row indices that returns `score`, for the bootstrap."""

    def no_image_baseline(self, training: Sequence[np.ndarray], cases: Sequence[np.ndarray]) -> dict[str, float] | None:
        """The scores on `cases` of a predictor that knows the training targets but no image; None if meaningless."""
