"""Scores of a benchmark by subgroup of the test patients: sex, age, view, scanner, where the user's table has them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.benchmarking import comparison, readers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from medssl.benchmarking.readers import Line
    from medssl.data.cache import Case

ATTRIBUTES = ("sex", "age", "view", "scanner")
AGES = ((40, "under 40"), (60, "40 to 59"), (80, "60 to 79"), (float("inf"), "80 and over"))  # years
KEPT = ("mean", "mean_low", "mean_high", "n", "patients", "difference", "to", "low", "high", "p")
Groups = dict[str, dict[str, list[str]]]  # attribute -> group -> ids of cases


def groups(cases: Iterable[Case]) -> Groups:
    """The test cases by the attributes that tell at least two groups apart; unknown values are a group of none."""
    found: Groups = defaultdict(lambda: defaultdict(list))
    for case in cases:
        for attribute in ATTRIBUTES:
            if name := _group(attribute, case.table.get(attribute, "").strip()):
                found[attribute][name].append(case.id)
    return {attribute: dict(sorted(of.items())) for attribute, of in found.items() if len(of) > 1}


def summarise(lines: Sequence[Line], of_tasks: Mapping[str, Groups], baseline: str | None) -> list[dict[str, Any]]:
    """One entry per task, amount of labels, init, attribute and group, as in `comparison.summarise`; exploratory.

    The score of a group is that of its test cases alone, by the task's own rule; its difference to `baseline` has the
    limits and p of patients and seeds. Groups without a score are left out.
    """
    table = []
    for task, attributes in of_tasks.items():
        own = [line for line in lines if line["task"] == task]
        for attribute, group, ids in _each(attributes):
            inside = [found for line in own if (found := _within(line, set(ids)))]
            for entry in comparison.summarise(inside, baseline):
                named = {"task": task, "fraction": entry["fraction"], "init": entry["init"]}
                shown = {name: entry[name] for name in KEPT if name in entry}
                table.append({**named, "attribute": attribute, "group": group, "score": entry["score"], **shown})
    return table


def _each(attributes: Groups) -> Iterator[tuple[str, str, list[str]]]:
    return ((name, group, ids) for name, of in attributes.items() for group, ids in of.items())


def _within(line: Line, ids: set[str]) -> Line | None:
    """A run as if it had been tested on some cases only; None where they have no score (AUC of one class)."""
    inside = {**line, "rows": [row for row in line["rows"] if row["id"] in ids], "floor": None, "beside": []}
    value = readers.value(inside)
    return None if np.isnan(value) else {**inside, "value": value}


def _group(attribute: str, value: str) -> str:
    if attribute != "age" or not value:
        return value
    years = value.upper().rstrip("Y")  # DICOM writes 045Y
    if not years.replace(".", "", 1).isdigit():
        return ""
    return next(name for below, name in AGES if float(years) < below)
