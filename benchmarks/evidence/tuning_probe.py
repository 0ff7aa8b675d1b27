"""Frozen probes on validation images and on the patients kept for tuning, for tune.py: quick, the same for every arm.

Scores take the best of a few penalties by the scores themselves, which flatters all arms alike. The patients of `cxr`
that tune are two fifths, chosen by a hash; they are in the folds of the evidence suite too.
"""

from __future__ import annotations

import csv
import hashlib
import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from medssl import views
from medssl.data.cache import Cache
from medssl.data.manifest import keyed_hash, read_key
from medssl.data.split import subsets
from medssl.engine import checkpoint
from medssl.models.encoder import tiny
from medssl.probing import dense, voxels

SIZE = (64, 64)


def encoder(run: Path) -> nn.Module:
    """The tiny encoder of a run, in evaluation mode."""
    content = checkpoint.load(run / "checkpoints" / "last.pt")
    spec = content["recipe"]["encoder"]
    net = tiny.build(spatial_dims=2, in_channels=1, channels=tuple(spec["channels"]), norm=spec["norm"])
    prefix = "encoder."
    net.load_state_dict({k[len(prefix) :]: v for k, v in content["weights"].items() if k.startswith(prefix)})
    return net.eval()


def tumours(net: nn.Module, data: Path, cache: Path) -> dict[str, Any]:
    """Accuracy on `val` from 10 and 25 images a class, mean of ten draws."""
    splits = json.loads((data / "splits.json").read_text())
    kinds = {row["id"]: row["class"] for row in rows(data)}
    val = [name for name in splits["val"] if kinds[name] != "notumor"]
    draws = {n: [splits[f"seed{seed}_n{n}"] for seed in range(10)] for n in (10, 25)}
    names = sorted({*val, *(name for of in draws.values() for draw in of for name in draw)})
    maps, at = features(net, images(cache, names)), {name: i for i, name in enumerate(names)}
    y, test = np.array([kinds[name] for name in names]), [at[name] for name in val]
    found: dict[str, Any] = {}
    for kind, x in tables(maps).items():
        for n, of in draws.items():
            scores = [
                np.mean([Linear(x[t], y[t], c).accuracy(x[test], y[test]) for t in ([at[i] for i in d] for d in of)])
                for c in (0.01, 0.1, 1.0)
            ]
            found[f"tumours {kind} {n}"] = round(float(max(scores)), 3)
    return found


def pneumonia(net: nn.Module, data: Path, cache: Path) -> dict[str, Any]:
    """AUC from 20 and 40 images of the tuning patients, the others of these patients as test, mean of 25 draws."""
    chosen = [row for row in rows(data) if row["id"].startswith("nih_") and tunes(row["patient"])]
    x_of = tables(features(net, images(cache, [row["id"] for row in chosen])))
    y = np.array([row["label"] == "pneumonia" for row in chosen])
    patients, found = np.array([row["patient"] for row in chosen]), dict[str, Any]()
    for kind, x in x_of.items():
        for n in (20, 40):
            scores: dict[float, list[float]] = {c: [] for c in (0.001, 0.01, 0.1)}
            for seed in range(25):
                rng = np.random.default_rng([seed, n])
                train = np.concatenate([rng.permutation(np.flatnonzero(y == c))[: n // 2] for c in (False, True)])
                test = np.flatnonzero(~np.isin(patients, patients[train]))
                for c, of in scores.items():
                    of.append(roc_auc_score(y[test], Linear(x[train], y[train], c).decide(x[test])))
            found[f"pneumonia {kind} {n}"] = round(float(max(np.mean(of) for of in scores.values())), 3)
    return found


def lungs(net: nn.Module, data: Path, cache: Path) -> dict[str, Any]:
    """Dice of the dense probe from 1 and 2 images of tuning patients, half of their others as test, 20 draws."""
    chosen = [row for row in rows(data) if row["mask_lungs_v7"] and tunes(row["patient"])]
    stacked = dense.stacked(features(net, images(cache, [row["id"] for row in chosen])))
    masks = torch.stack([mask(data / row["mask_lungs_v7"]) for row in chosen])
    label = (masks[:, 1::2, 1::2] > 0.5).long().numpy()
    patients, found = np.array([row["patient"] for row in chosen]), dict[str, Any]()
    for n in (1, 2):
        scores: dict[float, list[float]] = {}
        for seed in range(20):
            order = np.random.default_rng(seed).permutation(np.unique(patients))[:n]
            train = [int(np.flatnonzero(patients == patient)[0]) for patient in order]
            test = np.flatnonzero(~np.isin(patients, order))[::2]
            first, *others = [voxels.moments(stacked[i].numpy(), label[i], 2) for i in train]
            for probe in voxels.fit(sum(others, start=first), prior=[1.0]):
                dice = [overlap(probe.predict(stacked[i].numpy())[1], masks[i]) for i in test]
                scores.setdefault(probe.shrinkage, []).append(float(np.mean(dice)))
        found[f"lungs {n}"] = round(float(max(np.mean(of) for of in scores.values())), 3)
    return found


class Fit(NamedTuple):
    """Standardisation, the span of the training rows, and the regression in it."""

    mean: np.ndarray
    scale: np.ndarray
    span: np.ndarray
    model: LogisticRegression


class Linear:
    """A logistic regression on standardised features, solved in the span of its training rows, which is exact."""

    def __init__(self, x_ND: np.ndarray, y_N: np.ndarray, c: float) -> None:
        mean, scale = x_ND.mean(0), x_ND.std(0) + 1e-6
        _, values, span = np.linalg.svd((x_ND - mean) / scale, full_matrices=False)
        self.fit = Fit(
            mean, scale, span[values > 1e-6 * values[0]].T, LogisticRegression(C=c, solver="newton-cholesky")
        )
        self.fit.model.fit(self._inside(x_ND), y_N)

    def accuracy(self, x_ND: np.ndarray, y_N: np.ndarray) -> float:
        """The share of rows that are right."""
        return float(self.fit.model.score(self._inside(x_ND), y_N))

    def decide(self, x_ND: np.ndarray) -> np.ndarray:
        """Logits (N,) of the second class."""
        return np.asarray(self.fit.model.decision_function(self._inside(x_ND)))

    def _inside(self, x_ND: np.ndarray) -> np.ndarray:
        return np.asarray(((x_ND - self.fit.mean) / self.fit.scale) @ self.fit.span)


def rows(data: Path) -> list[dict[str, str]]:
    """Those of metadata.csv."""
    with (data / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tunes(patient: str) -> bool:
    """Whether a patient is one of the two fifths."""
    return int(hashlib.sha256(f"tuning {patient}".encode()).hexdigest(), 16) % 5 < 2


def images(folder: Path, names: list[str]) -> Tensor:
    """(N,1,64,64) of a cache, by the names of the files without their ending."""
    cache, maker = Cache(folder), views.build(spatial_dims=2, channels=1, size=list(SIZE), preset="xray", corrupt=None)
    key = folder.with_name(f"{folder.name}.key")
    hashed = partial(keyed_hash, read_key(key, key), "stem")
    with TemporaryDirectory() as own:
        listed = Path(own) / "names.json"
        listed.write_text(json.dumps({name: [name] for name in names}))
        of = subsets(list(cache.cases.values()), listed, names, hashed)
    found = [maker.whole(cache.image(of[name][0]), cache.cases[of[name][0]], SIZE) for name in names]
    return torch.from_numpy(np.stack(found))


@torch.no_grad()
def features(net: nn.Module, x_NC: Tensor) -> tuple[Tensor, ...]:
    """All levels."""
    return tuple(torch.cat(of) for of in zip(*(net(part) for part in x_NC.split(128)), strict=True))


def tables(maps: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """Rows for a classifier: the mean of the deepest level; mean and deviation of all."""
    mean, deviation = [m.mean((2, 3)) for m in maps], [m.std((2, 3)) for m in maps]
    return {"deepest": mean[-1].numpy(), "all": torch.cat(mean + deviation, 1).numpy()}


def mask(path: Path) -> Tensor:
    """(64,64) in [0,1]."""
    full = torch.from_numpy((np.asarray(Image.open(path).convert("L")) > 127).astype(np.float32))
    return functional.interpolate(full[None, None], SIZE, mode="area")[0, 0]


def overlap(probability: np.ndarray, truth: Tensor) -> float:
    """Dice at the size of the truth."""
    made = functional.interpolate(torch.from_numpy(probability)[None, None], SIZE, mode="bilinear")[0, 0] > 0.5
    return float(2 * (made & (truth > 0.5)).sum() / (made.sum() + (truth > 0.5).sum()))
