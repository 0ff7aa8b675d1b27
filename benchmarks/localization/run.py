"""Localization on real images, from scratch or from a pretraining, one fold at a time; scores of all folds together.

    python benchmarks/localization/run.py SET DATA WORK [--folds 5] [--seeds 1] [--init RUN] [--rows FILE] [OVERRIDE...]

SET is sts, ms, cxr, nuclei or lungs (see data.py), DATA the folder that holds lesions3d, cxr and he. What is done
already is not done again, and a fold that was begun goes on from its checkpoint: kill it at any moment. Each fold that
is done is a line of --rows, once. The last lines are the scores of the test images of all folds pooled, by seed, and
their mean.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from data import SETS, Line, lines

from medssl.build import kinds
from medssl.data.files import write_csv, write_json
from medssl.finetuning.evaluate import scores


def medssl(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "medssl.cli", *words], check=True)


def prepared(name: str, data: Path, work: Path) -> tuple[Path, list[list[Line]]]:
    """The cache of a set, and the table of each fold; ids in splits files are the stems of the images."""
    chosen, folds = SETS[name], [lines(name, data, work, fold) for fold in range(5)]
    cache = work / "cache"
    if not (cache / "cache.json").is_file():
        table = work / "table.csv"
        rows = [(line.id, os.path.relpath(line.label, work), line.patient) for line in folds[0]]
        write_csv(table, ("id", "label", "patient"), rows)
        more = [] if chosen.preset != "mr" else ["--modality", "MR"]
        medssl("scan", str(data / chosen.folder), "--table", str(table), "--out", str(work / "manifest.csv"), *more)
        medssl("prepare", str(work / "manifest.csv"), "--out", str(cache), "--preset", chosen.preset)
    return cache, folds


def run(name: str, cache: Path, fold: list[Line], out: Path, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Fine-tune one fold, unless that is done."""
    if not (out / "results.json").is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        splits = out.with_suffix(".splits.json")
        stem = {line.id: line.id.removesuffix(".nii.gz") for line in fold}
        parts = {part: [stem[line.id] for line in fold if line.split == part] for part in ("train", "val", "test")}
        write_json(splits, parts)
        chosen = SETS[name]
        words = [chosen.recipe, f"data.cache={cache}", f"data.splits={splits}", f"out={out}", f"seed={seed}"]
        words += [f"data.key={cache.with_name('manifest.key')}"]  # splits name files, which the cache knows by hashes
        words += [f"init={given.init}", f"augment.preset={chosen.preset}", *chosen.overrides, *given.overrides]
        words += [] if parts["val"] else ["data.val=null", "task.least=0", "task.threshold=0.5"]
        words += ["resume=true"] if (out / "checkpoints" / "last.pt").is_file() else []
        medssl("finetune", *words)
    return json.loads((out / "results.json").read_text())


def record(file: Path, unit: dict[str, Any], results: dict[str, Any], dims: int) -> None:
    """Append the scores of a fold to `file`, unless it has them."""
    before = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    if not any(unit.items() <= line.items() for line in before):
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**unit, "cases": results["cases"], "scores": pooled([results], dims)}) + "\n")


def pooled(found: list[dict[str, Any]], dims: int) -> dict[str, float]:
    """The scores of the test images of all folds together."""
    task = kinds.make("task", {"kind": found[0]["task"], **_settings(found[0])}, {"spatial_dims": dims})
    return task.summary([scores(row) for one in found for row in one["test"]["rows"]])


def _settings(results: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in results["settings"].items() if key not in ("kind", "threshold")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--init", default="scratch")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_intermixed_args()
    work = given.work / given.set
    work.mkdir(parents=True, exist_ok=True)
    cache, folds = prepared(given.set, given.data, work)
    start, dims = Path(given.init).name, 3 if SETS[given.set].preset == "mr" else 2
    by_seed = []
    for seed in range(given.seeds):
        outs = [work / "runs" / start / f"seed{seed}_fold{fold}" for fold in range(given.folds)]
        found = []
        for fold, out in enumerate(outs):
            found.append(run(given.set, cache, folds[fold], out, given, seed))
            if given.rows is not None:
                unit = {"set": given.set, "init": start, "seed": seed, "fold": fold, "overrides": given.overrides}
                record(given.rows, unit, found[-1], dims)
        by_seed.append(pooled(found, dims))
        print(f"seed {seed}: " + ", ".join(f"{key} {value:.4f}" for key, value in by_seed[-1].items()))
    for key in by_seed[0]:
        values = [each[key] for each in by_seed]
        print(
            f"{key}: {statistics.fmean(values):.4f}" + (f" (sd {statistics.stdev(values):.4f})" if values[1:] else "")
        )


if __name__ == "__main__":
    main()
