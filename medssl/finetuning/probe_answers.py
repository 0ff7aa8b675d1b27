"""Run the probes, of image classes and of voxel labels: first of the encoder, then of its baselines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from medssl.finetuning import evaluate
from medssl.models.sizes import per_axis
from medssl.probing import baselines, compare, dense, features
from medssl.probing.compare import ALL, OWN, PIXELS, PRIOR, UNTRAINED, Arm, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from medssl.finetuning.probe_run import Probing
    from medssl.probing.dense import Field
    from medssl.tasks.task import Row

    Tables = dict[str, dict[str, list[Row]]]  # network -> draw -> rows of the test cases

LEVELS, DISCRIMINANT = "all levels on one grid", "linear discriminant"


def classes(run: Probing) -> dict[str, Any]:
    """The entries of results.json for a probe of image classes; writes predictions.csv."""
    settings, question = run.task.settings, _question(run)
    draws = compare.draws(question, run.patients, settings.shots, settings.draws, run.recipe.seed)
    images = features.batched(features.images(run.cache, question.ids, run.size), run.recipe.train.batch)
    pooled = features.extract({**run.networks(), PIXELS: baselines.Pixels()}, images, run.device)
    asked, at = [*question.val, *question.test], len(question.val)
    first: list[Row] = []  # of the probe that the recipe asks for, on validation and test cases
    tables: list[tuple[Arm, Tables]] = []
    for arm in compare.arms(list(dict.fromkeys((settings.pool, "mean", "all_levels"))), settings.method):
        drawn = draws if arm.probe == settings.method else {ALL: draws[ALL]}
        found = compare.answers(question, pooled, arm, drawn, settings.level)
        first = first or run.rows(asked, found[OWN][ALL])
        tests = {name: {draw: run.rows(question.test, p[at:]) for draw, p in of.items()} for name, of in found.items()}
        tables.append((arm, tests))
    result = run.judged(first[:at], first[at:]) | _beside(run, tables)
    if question.test:
        prior = run.value(run.rows(question.test, compare.prior(question)))
        result["floor"] = {run.task.score: prior}
        result["beside"].append(compare.row(Arm(PRIOR, "", ""), [prior]))
        evaluate.write_predictions(run.out / "predictions.csv", run.task.classes, first[at:])
    return result


def labels(run: Probing) -> dict[str, Any]:
    """The entries of results.json for a probe of voxel labels."""
    settings, count = run.task.settings, len(run.task.classes) + 1
    train, val, test = (run.subsets[part] for part in ("train", "val", "test"))
    asked = [*val, *test]
    question = Question({}, train, val, test, multilabel=True)  # images are drawn whatever their labels
    draws = compare.draws(question, run.patients, settings.shots, settings.draws, run.recipe.seed)
    first: list[Row] = []
    found: Tables = {}
    for name, represent in _representations(run).items():
        masks = dense.few_shot(partial(_read, run, represent), draws, val, asked, count)
        first = first or run.rows(asked, (_one_hot(masks[ALL][i], count) for i in asked))
        found[name] = {draw: run.rows(test, (_one_hot(of[i], count) for i in test)) for draw, of in masks.items()}
    tables = [(Arm(network, LEVELS, DISCRIMINANT), found) for network in (OWN, UNTRAINED)]
    tables.append((Arm(PIXELS, "pixels", DISCRIMINANT), found))
    result = run.judged(first[: len(val)], first[len(val) :]) | _beside(run, tables)
    if test:
        targets = [[run.target(name) for name in ids] for ids in (train, test)]
        result["floor"] = run.task.no_image_baseline(*targets)
        result["beside"].append(compare.row(Arm(PRIOR, "", ""), [result["floor"][run.task.score]]))
    return result


def _question(run: Probing) -> Question:
    truth = {name: run.target(name) for ids in run.subsets.values() for name in ids}
    train, val, test = (run.subsets[part] for part in ("train", "val", "test"))
    return Question(truth, train, val, test, run.task.multilabel)


def _beside(run: Probing, tables: Sequence[tuple[Arm, Tables]]) -> dict[str, Any]:
    """Every network and probe on the test cases, with all labels and with few."""
    beside: list[dict[str, Any]] = []
    few: list[dict[str, Any]] = []
    settings = run.task.settings
    for arm, found in tables if run.subsets["test"] else ():
        values = {name: {draw: run.value(rows) for draw, rows in of.items()} for name, of in found.items()}
        shots = settings.shots if len(next(iter(found.values()), {})) > 1 else ()
        with_all, with_few = compare.rows(arm, values, shots, settings.draws)
        beside += with_all
        few += with_few
    return {"beside": beside, "few_shot": few}


def _representations(run: Probing) -> dict[str, Callable[[Tensor], Tensor]]:
    """What turns images (B,C,*S) into features on a grid, by name: each encoder, and the pixels around each voxel."""
    networks = run.networks()
    stride = per_axis(cast("Any", networks[OWN]).strides[0], len(run.size))
    shown: dict[str, Callable[[Tensor], Tensor]] = {name: partial(_levels, net) for name, net in networks.items()}
    return {**shown, PIXELS: partial(dense.patches, stride=stride)}


def _levels(network: nn.Module, x_BC: Tensor) -> Tensor:
    return dense.stacked(network(x_BC))


def _read(run: Probing, represent: Callable[[Tensor], Tensor], ids: Sequence[str]) -> Iterator[Field]:
    return dense.fields(represent, run.cache, ids, run.size, run.target, device=run.device)


def _one_hot(mask: np.ndarray, count: int) -> np.ndarray:
    return np.moveaxis(np.eye(count, dtype=np.float32)[mask], -1, 0)
