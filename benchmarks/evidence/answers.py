"""From rows to answers: the score of each reader and patient, differences of two arms with interval and p, ranks.

A reader s is (label draw s, pretraining s mod its seeds, initial weights s). S readers, P patients.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from store import PLAN, ROWS, rows

from medssl.metrics.statistics.mrmc import MRMC, jackknife, mrmc, patient_means


class Question(NamedTuple):
    """What is asked of a task: by a frozen probe of a level, or by fine-tuning, at so many labels."""

    answer: str  # probe or finetune
    task: str
    count: int
    level: str = "deep"  # of a probe: deep, all


@cache
def cases() -> dict[str, Any]:
    """Patients and classes of the test images, by task and fold."""
    found: dict[str, Any] = json.loads((ROWS / "cases.json").read_text())
    return found


@cache
def readers(question: Question, arm: str) -> np.ndarray:
    """(S,P): the score of each patient for each reader. Empty where a reader is missing: nothing is said of parts."""
    found = [_reader(question, arm, s) for s in range(PLAN["draws"] if question.task != "T7" else 1)]
    return np.empty((0, 0)) if any(one is None for one in found) else np.stack(found)  # type: ignore[arg-type]


def mean(question: Question, arm: str) -> float:
    """The mean score of an arm; NaN where a reader is missing."""
    values = readers(question, arm)
    return float(np.nanmean(values)) if values.size else float("nan")


def difference(question: Question, arm: str, against: str) -> MRMC | None:
    """Arm minus baseline, readers and patients both random; None where one of them is not complete."""
    one, other = readers(question, arm), readers(_of(question, against), against)
    return mrmc(one - other) if one.size and other.size else None


def _of(question: Question, arm: str) -> Question:
    return question._replace(level="pixels") if arm == "pixels" and question.answer == "probe" else question


def _reader(question: Question, arm: str, s: int) -> np.ndarray | None:
    table = _by_key()
    level = _of(question, arm).level if question.answer == "probe" else ""
    if level == "deep" and question.task in ("T3", "T7"):
        level = "all"
    seeds = sorted({key[2] for key in table if key[:2] == (question.answer, arm)} & _seeds(question, arm))
    if not seeds:
        return None
    seed = seeds[s % len(seeds)]
    folds = sorted(cases()[question.task], key=lambda name: int(name[1:]))
    keys = [(question.answer, arm, seed, question.task, question.count, level, int(f[1:]), s) for f in folds]
    if any(key not in table for key in keys):
        return None
    return _by_patient(question.task, {fold: table[key] for fold, key in zip(folds, keys, strict=True)})


def _seeds(question: Question, arm: str) -> set[int]:
    """The pretrainings of an arm that are there for this task; fine-tunings hold their own seed by draw."""
    return {key[2] for key in _by_key() if key[:2] == (question.answer, arm) and key[3] == question.task}


@cache
def _by_key() -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {}
    for row in rows("probes"):
        key = (row["arm"], row["seed"], row["task"], row["count"], row["level"], row["fold"], row["draw"])
        found[("probe", *key)] = row
    for row in rows("finetunings"):
        if row["part"] == "tune":
            found[("finetune", row["arm"], 0, row["task"], row["count"], "", row["fold"], row["draw"])] = row
    return found


def _by_patient(task: str, found: dict[str, dict[str, Any]]) -> np.ndarray:
    """(P,): means of a patient's images; for AUC, the mean over folds, pseudo-values."""
    if task == "T2":
        return _pseudo_values(found)
    about = [cases()[task][fold] for fold in found]
    patients = [patient for one in about for patient in one["patient"]]
    values = np.concatenate([_values(task, row) for row in found.values()])
    return patient_means(values[None], patients)[0]


def _values(task: str, row: dict[str, Any]) -> np.ndarray:
    if "right" in row:
        return np.unpackbits(np.frombuffer(bytes.fromhex(row["right"]), np.uint8))[: row["cases"]].astype(float)
    scores = row["scores"]
    if isinstance(scores, list):
        return np.array(scores, float)
    if task == "T1":
        names = [key.removeprefix("probability.") for key in scores if key.startswith("probability.")]
        p, y = (np.stack([np.array(scores[f"{part}.{n}"], float) for n in names]) for part in ("probability", "truth"))
        return (p.argmax(0) == y.argmax(0)).astype(float)
    dice = [np.array(values, float) for key, values in scores.items() if key.startswith("dice.")]
    return np.nanmean(dice, axis=0)


def _pseudo_values(found: dict[str, dict[str, Any]]) -> np.ndarray:
    """(P,): of the mean over folds of the AUC. Pairs are compared once; leaving out a patient only takes some away."""
    wins, sick, well, patients = [], [], [], []
    for fold, row in found.items():
        about = cases()["T2"][fold]
        values = row["scores"] if isinstance(row["scores"], list) else row["scores"]["probability.pneumonia"]
        score, truth = np.array(values, float), np.array(about["truth"]) == 1
        over = score[truth][:, None] - score[~truth]
        wins.append((over > 0) + 0.5 * (over == 0))
        place = len(patients) + np.arange(len(score))
        sick.append(place[truth])
        well.append(place[~truth])
        patients += about["patient"]

    def auc(index: np.ndarray) -> float:
        kept = np.zeros(len(patients))
        kept[index] = 1
        parts = [
            (kept[a] @ one @ kept[b]) / (kept[a].sum() * kept[b].sum())
            for one, a, b in zip(wins, sick, well, strict=True)
        ]
        return float(np.mean(parts))

    with np.errstate(invalid="ignore"):  # a fold that has lost one of its classes: NaN
        return jackknife(auc, patients)
