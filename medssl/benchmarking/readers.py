"""The runs of a benchmark as a reader study: seeds are readers, patients are cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.build import kinds
from medssl.metrics.statistics import MRMC, jackknife, mrmc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Line = dict[str, Any]  # of results.jsonl


def same_cases(lines: Sequence[Line]) -> bool:
    """Whether runs were tested on the same cases, which can then be paired."""
    ids = [[row["id"] for row in line["rows"]] for line in lines]
    return bool(ids[0]) and all(one == ids[0] for one in ids)


def values(line: Line) -> np.ndarray:
    """What each patient adds to the score of a run: jackknife pseudo-values (P,), NaN where a patient has no score.

    Patients are in the order in which they first occur in the rows.
    """
    every = list(dict.fromkeys(row["patient"] for row in line["rows"]))
    task, rows = _scored(line)
    patients = [row["patient"] for row in rows]
    found = dict(zip(dict.fromkeys(patients), jackknife(task.resampled(rows), patients), strict=True)) if rows else {}
    return np.array([found.get(patient, float("nan")) for patient in every])


def value(line: Line) -> float:
    """The score of a run over its rows, by the task's own rule; NaN where no row has one (AUC of one class)."""
    task, rows = _scored(line)
    return float(task.resampled(rows)(np.arange(len(rows)))) if rows else float("nan")


def of_seeds(runs: Mapping[int, Line], seeds: Sequence[int]) -> np.ndarray:
    """The values of some seeds (S,P); the runs have the same cases."""
    return np.stack([values(runs[seed]) for seed in seeds])


def analysed(values_SP: np.ndarray) -> MRMC:
    """`mrmc`, without limits and p where a score is missing for some seeds only."""
    try:
        return mrmc(values_SP)
    except ValueError:
        nan = float("nan")
        return MRMC(float(np.nanmean(values_SP)), nan, nan, nan, nan, nan, *values_SP.shape)


def number(value: Any) -> Any:
    """JSON's null is NaN."""
    return float("nan") if value is None else value


def _scored(line: Line) -> tuple[Any, list[Line]]:
    """The task of a run, and its rows that count for the score."""
    task = kinds.make("task", line["settings"], {"spatial_dims": line["spatial_dims"]})
    rows = [{name: number(value) for name, value in row.items()} for row in line["rows"]]
    return task, [row for row in rows if not _missing(row.get(line["score"]))]


def _missing(value: Any) -> bool:
    return isinstance(value, float) and bool(np.isnan(value))
