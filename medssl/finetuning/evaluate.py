"""The scores of a set of cases, and their tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medssl import ranks
from medssl.data.files import write_csv
from medssl.metrics.statistics import grouped_interval
from medssl.models.mode import evaluating
from medssl.patches import network_input
from medssl.tasks.task import scored

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from medssl.patches import CaseCache
    from medssl.tasks.task import Row, Task

RESAMPLES = 2000
FEW = 30  # test patients
FEW_SAID = f"fewer than {FEW} test patients: the interval may be too narrow, and results cannot be ranked by it"


@torch.no_grad()
def rows(
    task: Task, model: nn.Module, case_cache: CaseCache, ids: Sequence[str], size: tuple[int, ...], device: Any
) -> list[Row]:
    """One row of scores per case, in the order of `ids`; each rank predicts its share."""
    with evaluating(model):
        own = [_row(task, model, case_cache, name, size, device) for name in ids[ranks.rank() :: ranks.world()]]
    if ranks.world() == 1:
        return own
    shares: list[Any] = [None] * ranks.world()
    torch.distributed.all_gather_object(shares, own)
    every = {row["id"]: row for share in shares for row in share}
    return [every[name] for name in ids]


def _row(task: Task, model: nn.Module, case_cache: CaseCache, name: str, size: tuple[int, ...], device: Any) -> Row:
    case, found = case_cache.cache.cases[name], case_cache(name)
    x = network_input(found.image, case.intensity, case.spacing, size, task.dense)
    prediction = task.predict(model, x.to(device), size)[0]
    target = np.asarray(found.target[:])
    scores = scored(task, prediction, target[0] if task.dense else target, case_cache.lesions(name), case)
    return {"id": name, "patient": case.patient, **scores}


def scores(row: Row) -> Row:
    """A row without the case and patient."""
    return {name: value for name, value in row.items() if name not in ("id", "patient")}


def table(task: Task, found: Sequence[Row], seed: int) -> dict[str, Any]:
    """The scores of a set of cases: overall, with a 95% interval over patients, and for each case."""
    if not found:
        return {"cases": 0, "patients": 0, task.score: None, "interval": _interval(), "summary": {}, "rows": []}
    plain = [scores(row) for row in found]
    patients = [row["patient"] for row in found]
    interval = grouped_interval(task.resampled(plain), patients, np.random.default_rng(seed), resamples=RESAMPLES)
    return {
        "cases": len(found),
        "patients": len(set(patients)),
        task.score: interval.estimate,
        "interval": _interval(interval.low, interval.high),
        "caution": FEW_SAID if len(set(patients)) < FEW else None,
        "summary": task.summary(plain),
        **({"details": task.details(found)} if hasattr(task, "details") else {}),
        "rows": list(found),
    }


def _interval(low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"low": low, "high": high, "level": 0.95, "over": "patients"}


def no_image_baseline(
    task: Task, case_cache: CaseCache, train: Sequence[str], test: Sequence[str]
) -> dict[str, float] | None:
    """The scores without an image (see `Task.no_image_baseline`)."""
    return task.no_image_baseline(_Targets(case_cache, train), _Targets(case_cache, test))


class _Targets(Sequence[np.ndarray]):
    """The targets of cases, each read when it is asked for: most tasks have no such baseline and ask for none."""

    def __init__(self, case_cache: CaseCache, ids: Sequence[str]) -> None:
        self.case_cache, self.ids = case_cache, ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: Any) -> Any:
        found = np.asarray(self.case_cache(self.ids[number]).target[:])
        return found[0] if self.case_cache.task.dense else found


def sentences(results: dict[str, Any]) -> list[str]:
    """The result in sentences."""
    lines = [f"weights of step {results['best_step']} (chosen by {results['chosen_by']})"]
    test, name = results["test"], results["score"]
    if not test["cases"]:
        return [*lines, "nothing was tested: there are no test cases"]
    low, high = test["interval"]["low"], test["interval"]["high"]
    limits = f", 95% interval over patients {low:.4f} to {high:.4f}" if low is not None else ""
    lines.append(f"test {name} {_shown(test[name])} on {test['cases']} cases of {test['patients']} patients{limits}")
    lines += [test["caution"]] if test["caution"] else []
    lines += [f"  {key} {_shown(value)}" for key, value in test["summary"].items() if key != name]
    lines += _beside(test)
    if results["floor"] is not None:
        lines.append(f"floor: {name} {_shown(results['floor'][name])} by the mean training label, without any image")
    return [*lines, results["overlap"]["sentence"]]


def _beside(test: dict[str, Any]) -> list[str]:
    """What stands beside scores of places: what needs no network, and a network that learned nothing."""
    found = {
        f"floor, {name} ({label})": values
        for label, floors in test.get("details", {}).get("floors", {}).items()
        for name, values in floors.items()
    }
    if "randomised" in test:
        shown = ("accuracy", "iou_0.1", "iou_0.3", "pointing", "pixel_ap")
        found["randomised weights"] = {name: test["randomised"][name] for name in shown if name in test["randomised"]}
    return [f"{name}: " + ", ".join(f"{k} {_shown(v)}" for k, v in values.items()) for name, values in found.items()]


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def write_predictions(path: Path, classes: Sequence[str], found: Sequence[Row]) -> None:
    """Write predictions.csv: one row per case and class."""
    labels = [";".join(name for name in classes if row[f"truth.{name}"] == 1) for row in found]
    write_csv(
        path,
        ["id", "patient", "label", "class", "probability"],
        (
            [row["id"], row["patient"], label, name, f"{row[f'probability.{name}']:.6f}"]
            for row, label in zip(found, labels, strict=True)
            for name in classes
        ),
    )
