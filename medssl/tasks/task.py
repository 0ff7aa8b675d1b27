"""The interface of a task for the loop of `finetune`: a network on an encoder, a loss, a prediction, and scores.

The module of a task has `build` (its arguments are the recipe's `task` group), `names(given, cases, read)` (the
classes: as given in the recipe, or from the training cases; `read(id)` gives a label volume) and `labelled(case)`
(whether a case can be used). If these depend on the task's settings, `variant(settings)` returns them.

A task may have `undecided` and `tuned(rows)`: whether there are settings that the rows of validation decide, and these,
which the test and `predict` then take as they are. It may have `mask(prediction)`, the class of each voxel of
probabilities (K,*S); `probability(prediction)`, the probabilities (K,) of an image where `predict` of the task gives
something else; and `details(rows)`, what results.json tells of the test beside numbers. Where it has a true
`randomised`, the test is repeated with fresh weights.
N cases; a row is a dictionary of numbers and strings about one case, as results.json stores it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor, nn

    from medssl.data.cache import Case
    from medssl.metrics.lesions import Candidate, Lesion
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
        """The scores on `cases` of a predictor that knows the training targets but no image; None if meaningless.

        Targets are those of `target`, read from the cache one by one, as they are asked for.
        """


@runtime_checkable
class LesionTask(Protocol):
    """A `Task` that looks for lesions, which label volumes or boxes of a case show."""

    reporting: float  # score from which on a candidate is reported

    def truth(self, case: Case, label: np.ndarray | None) -> tuple[np.ndarray | None, tuple[Lesion, ...] | None]:
        """The label volume (1,*S) to train on, from that of the case or its boxes, and the lesions in it.

        None for lesions where nobody is known to have looked for them, and for the volume where none is trained on.
        """

    def found(self, prediction: Any, target: Any, lesions: Any, spacing: Sequence[float], shape: Sequence[int]) -> Row:
        """One case of `shape` as `Task.metrics` has it, with its lesions and candidates."""

    def candidates(self, prediction: Any, shape: Sequence[int]) -> tuple[Candidate, ...]:
        """What was found in an image of `shape`."""


def scored(task: Task, prediction: Any, target: np.ndarray, lesions: tuple[Lesion, ...] | None, case: Case) -> Row:
    """The row of one case; `lesions` count for a task that looks for them."""
    if isinstance(task, LesionTask):
        return task.found(prediction, target, lesions, case.spacing, case.shape)
    return task.metrics(prediction, target, case.spacing)
