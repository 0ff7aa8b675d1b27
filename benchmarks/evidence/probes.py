"""Frozen probes of one encoder on one task: every draw, pooled features (T1, T2) or dense ones (T3, T7).

A row holds the score of each test image, in the order of its name, so that every statistic can be made from the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from data import TUMOURS, draws
from sklearn.metrics import roc_auc_score
from store import PLAN, pack

from medssl.data.cache import Cache
from medssl.metrics import segmentation
from medssl.metrics.statistics import known_mean
from medssl.probing import baselines, dense, features, few_shot, linear

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from torch import nn

SIZE = tuple(PLAN["size"])
POOLS = {"deep": "mean", "all": "all_levels"}


def probe(task: str, network: nn.Module | None, data: Path, work: Path) -> list[dict[str, Any]]:
    """The rows of an encoder on a task; None is the trivial baseline, 8x8 pixels."""
    found, made = draws(task, data, work)
    run = _classes if PLAN["tasks"][task]["kind"] == "classes" else _dense
    return [{"task": task, **row} for row in run(task, network, found.cache, found.table, made)]


def _classes(task: str, network: Any, path: Path, table: pd.DataFrame, made: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = TUMOURS if task == "T1" else ["no_finding", "pneumonia"]
    truth = table["class" if task == "T1" else "label"]
    ids = sorted({name for draw in made.values() for part in draw for name in part}, key=lambda name: table.stem[name])
    y = {name: np.array([truth[name] == one for one in names], float) for name in ids}
    rows = []
    for level, x_ND in _pooled(network, Cache(path), ids).items():
        x = dict(zip(ids, x_ND, strict=True))
        for name, draw in made.items():
            test = sorted(draw.test, key=lambda one: table.stem[one])
            p = few_shot.predict(linear.fit, x, y, {name: draw.train}, draw.val, test)[name]
            rows.append({**_named(name), "level": level, **_scored(task, p, np.stack([y[one] for one in test]))})
    return rows


def _pooled(network: Any, cache: Cache, ids: list[str]) -> dict[str, np.ndarray]:
    if network is None:
        return {"pixels": baselines.pixels(features.batched(features.images(cache, ids, SIZE)))}
    found = features.of_cache(network, cache, ids, SIZE)
    return {level: found.select(pool) for level, pool in POOLS.items()}


def _scored(task: str, p_NK: np.ndarray, y_NK: np.ndarray) -> dict[str, Any]:
    """T1: accuracy, and which images were right; T2: AUC, and the probability of pneumonia."""
    if task == "T1":
        right = p_NK.argmax(1) == y_NK.argmax(1)
        return {
            "value": round(float(right.mean()), 5),
            "right": np.packbits(right).tobytes().hex(),
            "cases": len(right),
        }
    return {"value": round(float(roc_auc_score(y_NK[:, 1], p_NK[:, 1])), 5), "scores": pack(p_NK[:, 1])}


def _dense(task: str, network: Any, path: Path, table: pd.DataFrame, made: Mapping[str, Any]) -> list[dict[str, Any]]:
    cache = Cache(path)
    classes = 2 if task == "T3" else 3
    represent = (lambda x: dense.patches(x, (2, 2))) if network is None else (lambda x: dense.stacked(network(x)))
    if network is not None:
        network.eval()

    def label(case: str) -> np.ndarray:
        return cache.label(case)[0]

    def read(ids: Sequence[str]) -> Iterator[dense.Field]:
        return dense.fields(represent, cache, ids, SIZE, label)

    rows, level = [], "pixels" if network is None else "all"
    together: dict[tuple[int, int], dict[str, Any]] = {}  # the same validation and test images: read once
    for name, draw in made.items():
        together.setdefault((_named(name)["fold"], _named(name)["draw"]), {})[name] = draw
    for same in together.values():
        first = next(iter(same.values()))
        test = sorted(first.test, key=lambda one: table.stem[one])
        found = dense.few_shot(read, {name: draw.train for name, draw in same.items()}, first.val, test, classes)
        for name, masks in found.items():
            dice = [known_mean(segmentation.dice(masks[one], label(one), classes - 1)) for one in test]
            value = round(known_mean(dice), 5)
            rows.append({**_named(name), "level": level, "value": value, "scores": pack(dice)})
    return rows


def _named(name: str) -> dict[str, int]:
    count, fold, seed = (int(part[1:]) for part in name.split("_"))
    return {"count": count, "fold": fold, "draw": seed}
