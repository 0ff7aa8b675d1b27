"""What a task is to the loop of `finetune`: a network on an encoder, a loss, a prediction, and scores.

The module of a task has `build` (its arguments are the recipe's `task` group), `names(given, cases, read)` (the
classes, as the recipe gives them or from the training cases; `read(id)` gives a label volume) and `labelled(case)`
(whether a case can be trained and tested on); where these go by the task's settings, `variant(settings)` gives them.
N cases; a row is a dictionary of plain numbers and strings about one case, ready for results.json.
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
    score: str  # the number of `summary` that chooses the best checkpoint; higher is better
    dense: bool  # true: trained on patches and label volumes; false: on whole images and class names
    parts: tuple[str, ...]  # the parts of a pretraining that it takes over by default

    def model(self, encoder: nn.Module, decoder: nn.Module | None) -> nn.Module:
        """The network (B,C,*S) -> logits, with submodules `encoder`, `head` and, if used, `decoder`."""

    def target(self, names: Sequence[str], label: np.ndarray | None, case: str) -> np.ndarray:
        """What the loss and the scores want of a case with these class names and label volume (1,*S)."""

    def loss(self, output: Tensor, label: Tensor) -> Losses:
        """Losses of logits and a batch of targets."""

    def predict(self, model: nn.Module, volume_BC: Tensor, window: Sequence[int]) -> Tensor:
        """Probabilities: (B,K,*S) if dense, else (B,K); `window` is the size that the network was trained with."""

    def metrics(self, prediction: Tensor, target: np.ndarray, spacing: Sequence[float]) -> Row:
        """One case: probabilities without the batch axis, its target, spacing in mm."""

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """The scores of a set of cases."""

    def resampled(self, rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """`score` of the rows with given indices, fast, for the bootstrap."""

    def no_image_baseline(self, training: Sequence[np.ndarray], cases: Sequence[np.ndarray]) -> dict[str, float] | None:
        """The scores on `cases` of what knows the training targets but no image; None where that means nothing."""
