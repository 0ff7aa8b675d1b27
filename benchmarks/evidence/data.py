"""The caches and the draws of labels of the evidence suite, made once from the folders of images.

Which image is in which draw is a function of the plan and the metadata alone; ids are those of the manifest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from store import PLAN

from medssl.data.cache import Cache
from medssl.data.manifest import read
from medssl.data.split import stem_of
from medssl.probing.few_shot import draw

TUMOURS = ["glioma", "meningioma", "pituitary"]
LUNG_TEST, LUNG_VAL = 0.5, 10  # share of patients tested on; images that choose a strength
VAL_SHARE = 0.15  # of the training patients of a fold


class Draw(NamedTuple):
    """Training, validation and test cases of one fit."""

    train: list[str]
    val: list[str]
    test: list[str]


class Source(NamedTuple):
    """A prepared set of images: its cache, and what is known of each case."""

    cache: Path
    table: pd.DataFrame  # index id; columns stem, class, patient, ...


@cache
def source(
    name: str, data: Path, work: Path, *, preset: str, spacing: tuple[float, ...] | None = None, labels: str = ""
) -> Source:
    """Scan and prepare data/NAME/open into work/NAME(.LABELS), once."""
    key = f"{name}.{labels}" if labels else name
    manifest, cache = work / f"{key}.csv", work / key
    metadata = pd.read_csv(data / name / "metadata.csv").set_index("id") if name != "cxr64" else pd.DataFrame()
    if not manifest.exists():
        _scan(name, data, manifest, metadata, labels)
    extra = ["--spacing", ",".join(map(str, spacing))] if spacing else []
    _cli("prepare", str(manifest), "--out", str(cache), "--preset", preset, *extra)
    found = {row.id: stem_of(row.source or row.image) for row in read(manifest).rows}
    table = pd.DataFrame({"stem": found})[lambda rows: rows.index.isin(Cache(cache).cases)]
    return Source(cache, table.join(metadata, on="stem") if len(metadata) else table)


@cache
def draws(task: str, data: Path, work: Path) -> tuple[Source, dict[str, Draw]]:
    """The source of a task and its draws, named `nN_fF_sS`."""
    return {"T1": _tumours, "T2": _pneumonia, "T3": _lungs, "T7": _lesions}[task](data, work)


def tested(task: str, data: Path, work: Path) -> dict[str, dict[str, list[int]]]:
    """Of each fold's test images, in the order of their names: the patient as a number, and the class as a number."""
    found, made = draws(task, data, work)
    column = "group" if task == "T1" else "patient"
    number = {patient: at for at, patient in enumerate(sorted(found.table[column].unique()))}
    classes = TUMOURS if task == "T1" else ["no_finding", "pneumonia"]
    folds: dict[str, dict[str, list[int]]] = {}
    for name, one_draw in made.items():
        rows = found.table.loc[sorted(one_draw.test, key=lambda one: found.table.stem[one])]
        truth = rows["class" if task == "T1" else "label"]
        folds[name.split("_")[1]] = {
            "patient": [number[patient] for patient in rows[column]],
            "truth": [classes.index(one) for one in truth] if task in ("T1", "T2") else [],
        }
    return folds


def _tumours(data: Path, work: Path) -> tuple[Source, dict[str, Draw]]:
    found = pool_source("brainmr", data, work)
    ids = {stem: number for number, stem in found.table["stem"].items()}
    lists = json.loads((data / "brainmr" / "splits.json").read_text())

    def cases(name: str) -> list[str]:
        return [ids[stem] for stem in lists[name]]

    every = range(PLAN["draws"])
    return found, {
        f"n{n}_f0_s{s}": Draw(cases(f"seed{s}_n{n}"), cases("val"), cases("test"))
        for n in PLAN["tasks"]["T1"]["counts"]
        for s in every
    }


def _pneumonia(data: Path, work: Path) -> tuple[Source, dict[str, Draw]]:
    whole = source("cxr", data, work, preset="xray")
    table = whole.table[whole.table.stem.str.startswith("nih_") & whole.table.label.isin(["pneumonia", "no_finding"])]
    found = {}
    for fold, (inside, tested) in enumerate(_folds(table.patient, 5)):
        labelled, val = _part(table[inside], VAL_SHARE, fold)
        for n in PLAN["tasks"]["T2"]["counts"]:
            for s in range(PLAN["draws"]):
                found[f"n{n}_f{fold}_s{s}"] = Draw(
                    _in_shares(labelled, n, s), list(val.index), list(table.index[tested])
                )
    return Source(whole.cache, table), found


def _in_shares(labelled: pd.DataFrame, n: int, seed: int) -> list[str]:
    """`n` images, each class as often as among all of them."""
    sick = labelled.index[labelled.label == "pneumonia"]
    well = labelled.index.difference(sick)
    of_sick = round(n * len(sick) / len(labelled))
    return sorted(draw(sick, sick, of_sick, seed) + draw(well, well, n - of_sick, seed))


def _lungs(data: Path, work: Path) -> tuple[Source, dict[str, Draw]]:
    whole = source("cxr", data, work, preset="xray", labels="mask_lungs_v7")
    table = whole.table[whole.table.mask_lungs_v7.notna()]
    pool, test = _part(table, LUNG_TEST, 0)
    found = {}
    for s in range(PLAN["draws"]):
        order = np.random.default_rng(s).permutation(sorted(pool.patient.unique()))
        val = pool[pool.patient.isin(order[:LUNG_VAL])]
        rest = pool[pool.patient.isin(order[LUNG_VAL:])]
        for n in PLAN["tasks"]["T3"]["counts"]:
            train = draw(rest.index, list(rest.patient), n, s)
            found[f"n{n}_f0_s{s}"] = Draw(train, list(val.index), list(test.index))
    return Source(whole.cache, table), found


def _lesions(data: Path, work: Path) -> tuple[Source, dict[str, Draw]]:
    whole = source("cxr", data, work, preset="xray", labels="lesions")
    table = whole.table[whole.table.mask_ggo.notna() | whole.table.mask_consolidation.notna()]
    return Source(whole.cache, table), {
        f"n{PLAN['tasks']['T7']['counts'][0]}_f{fold}_s0": Draw(
            list(table.index[inside]), [], list(table.index[tested])
        )
        for fold, (inside, tested) in enumerate(_folds(table.patient, 5))
    }


def pool_source(pool: str, data: Path, work: Path) -> Source:
    """The prepared images of a pool."""
    about = PLAN["pools"][pool]
    spacing = tuple(about["spacing"]) if "spacing" in about else None
    return source(about["folder"], data, work, preset=about["preset"], spacing=spacing)


def _folds(patients: pd.Series, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks (outside, inside) of each fold; a patient lies in one fold."""
    order = np.random.default_rng(0).permutation(sorted(patients.unique()))
    number = {patient: place % folds for place, patient in enumerate(order)}
    of = patients.map(number).to_numpy()
    return [(of != fold, of == fold) for fold in range(folds)]


def _part(table: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two parts that share no patient; the second has about `share` of the patients."""
    order = np.random.default_rng([seed, 1]).permutation(sorted(table.patient.unique()))
    second = set(order[: round(share * len(order))])
    return table[~table.patient.isin(second)], table[table.patient.isin(second)]


def _scan(name: str, data: Path, manifest: Path, metadata: pd.DataFrame, labels: str) -> None:
    manifest.parent.mkdir(parents=True, exist_ok=True)
    images, options = data / name / "open" / "images", []
    if len(metadata):
        classes = metadata["class" if "class" in metadata else "label"]
        table = pd.DataFrame({"id": metadata.index, "class": classes.to_numpy()})
        table["patient"] = metadata["group" if "group" in metadata else "patient"].to_numpy()
        table.to_csv(path := manifest.with_suffix(".table.csv"), index=False)
        options = ["--table", str(path)]
    if labels:
        folder = manifest.with_suffix(".labels")
        _write_masks(data / name, folder, metadata, labels)
        options += ["--labels", str(folder)]
    _cli("scan", str(images), *options, "--out", str(manifest))


def _write_masks(root: Path, folder: Path, metadata: pd.DataFrame, labels: str) -> None:
    """Masks with one value per class, named like their images: lungs 1; ground glass 1, consolidation 2."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    columns = ["mask_ggo", "mask_consolidation"] if labels == "lesions" else [labels]
    for stem, row in metadata[metadata[columns].notna().any(axis=1)].iterrows():
        mask = None
        for value, column in enumerate(columns, 1):
            if isinstance(row[column], str):
                found = np.asarray(Image.open(root / row[column]).convert("L")) > 127
                mask = np.zeros(found.shape, np.uint8) if mask is None else mask
                mask[found] = value
        Image.fromarray(mask).save(folder / f"{stem}.png")


def _cli(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "medssl.cli", *arguments], check=True)
