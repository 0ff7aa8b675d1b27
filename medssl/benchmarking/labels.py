"""How many labels an init saves: the number of labels with which scratch scores as well, with 95% limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.benchmarking import readers
from medssl.metrics.statistics import labels_saved, labels_saved_interval, patient_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medssl.benchmarking.readers import Line

RESAMPLES = 2000


def saved(
    runs: Mapping[int, Line], curves: Mapping[tuple[str, str], Mapping[int, Line]], task: str
) -> dict[str, str | float]:
    """`labels_reached`, the number of labels scratch needs for the same score (`> 32`: more than measured), and limits.

    Empty if scratch was run with fewer than two numbers of labels, or if seeds or test cases differ.
    """
    scratch = sorted((one for (name, _), one in curves.items() if name == task), key=_cases)
    seeds, amounts = sorted(runs), [_cases(one) for one in scratch]
    every = [line for one in (*scratch, runs) for line in one.values()]
    if len(set(amounts)) < max(2, len(amounts)) or any(sorted(one) != seeds for one in scratch):
        return {}
    if not readers.same_cases(every):
        return {}
    values = np.stack([readers.of_seeds(one, seeds) for one in (*scratch, runs)])  # (L + 1, S, P)
    values = values[:, :, ~np.isnan(values).any((0, 1))]
    if values.size == 0:
        return {}
    means, labels = values.mean((1, 2)), _cases(runs)
    found: dict[str, Any] = {"labels_reached": str(labels_saved(amounts, means[:-1], float(means[-1]), labels))}
    if len(seeds) < 2 or values.shape[2] < 2:
        return found
    rng = np.random.default_rng(0)
    of_seeds, of_patients = (patient_weights(count, RESAMPLES, rng) for count in values.shape[1:])
    drawn = np.stack([((of_seeds @ one) * of_patients).sum(1) for one in values], 1) / values[0].size
    low, high = labels_saved_interval(amounts, drawn[:, :-1], drawn[:, -1], labels)
    return found | {"labels_low": str(low), "labels_high": str(high)}


def _cases(runs: Mapping[int, Line]) -> float:
    return float(np.mean([line["cases"] for line in runs.values()]))
