"""The state of a probe: its data, its networks, and the scores of a set of predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medssl.build import parts
from medssl.finetuning import evaluate
from medssl.probing import baselines
from medssl.probing.compare import OWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import nn

    from medssl.data.cache import Cache
    from medssl.engine.log import TrainLog
    from medssl.recipe import FinetuneRecipe
    from medssl.runtime.init_weights import Origin
    from medssl.tasks.probe import Probe
    from medssl.tasks.task import Row


@dataclass
class Probing:
    """The state of one probe."""

    recipe: FinetuneRecipe
    resolved: dict[str, Any]
    out: Path
    cache: Cache
    subsets: dict[str, list[str]]
    task: Probe
    size: tuple[int, ...]
    encoder: nn.Module
    origin: Origin
    log: TrainLog
    device: Any

    @property
    def patients(self) -> dict[str, str]:
        """The patient of each case."""
        return {name: case.patient for name, case in self.cache.cases.items()}

    def networks(self) -> dict[str, nn.Module]:
        """The encoder, and untrained encoders of the same architecture, in evaluation mode."""
        others = baselines.untrained(lambda: parts.encoder(self.recipe), range(self.task.settings.untrained))
        every = {OWN: self.encoder, **others}
        return {name: network.to(self.device).eval() for name, network in every.items()}

    def target(self, name: str) -> np.ndarray:
        """The target of a case: zeros and ones (K,), or its label (*S). Raises `InputError` if it has none."""
        case = self.cache.cases[name]
        label = np.asarray(self.cache.label(name)[:]) if self.task.dense and case.has_label else None
        found = self.task.target(case.classes, label, name)
        return found if self.task.dense else np.nan_to_num(found)  # a regression has no gaps: uncertain is absent

    def rows(self, ids: Sequence[str], probabilities: Iterable[np.ndarray]) -> list[Row]:
        """One row of scores per case, from probabilities (K,) or (K,*S)."""
        found = []
        for name, probability in zip(ids, probabilities, strict=True):
            case, prediction = self.cache.cases[name], torch.from_numpy(np.ascontiguousarray(probability))
            scores = self.task.metrics(prediction, self.target(name), case.spacing)
            found.append({"id": name, "patient": case.patient, **scores})
        return found

    def value(self, rows: Sequence[Row]) -> float:
        """The score of a set of rows."""
        return float(self.task.summary([evaluate.scores(row) for row in rows])[self.task.score])

    def judged(self, val: Sequence[Row], test: Sequence[Row]) -> dict[str, Any]:
        """The entries of results.json about the encoder itself, as for any fine-tuning."""
        return {
            "chosen_by": "validation" if val else "no validation: the middle of the grid",
            "validation": self.value(val) if val else None,
            "test": evaluate.table(self.task, test, self.recipe.seed),
        }
