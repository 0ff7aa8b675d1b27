"""`medssl benchmark`: the same fine-tuning from several inits, on several amounts of labels, with several seeds."""

from __future__ import annotations

import json
import os
import shutil
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import yaml

from medssl import report
from medssl.engine import log
from medssl.run import dataset, grid, plan
from medssl.run import out as out_room
from medssl.run.comparison import summarise, text
from medssl.run.finetune import tune
from medssl.run.grid import Cell
from medssl.run.score import plain
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from medssl.recipe import BenchmarkRecipe, FinetuneRecipe, Options

RESULTS = "results.jsonl"


def benchmark(recipe: BenchmarkRecipe, options: Options) -> None:
    """Run what is not yet in results.jsonl, then compare; resume=true goes on, and takes new cells of a wider grid.

    Raises `InputError`.
    """
    if options.devices * options.num_nodes > 1:
        raise InputError("a benchmark runs its cells one by one on one device: leave devices and num_nodes at 1")
    cells = [Cell(*c) for c in product(recipe.tasks, recipe.inits, map(str, recipe.fractions), recipe.seeds)]
    settings = {cell: grid.settings(recipe, cell, []) for cell in cells}  # what is wrong is said before anything is run
    for cell, found in settings.items():
        plan.check(found)
        grid.start(recipe, cell)
    if options.check:
        print(f"the recipe fits together: {len(cells)} runs")
        return
    out = out_room.claim(options)
    if options.overwrite:
        shutil.rmtree(out / "runs", ignore_errors=True)
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe.resolved(), sort_keys=False))
    done = _finished(out / RESULTS)
    for task in recipe.tasks:
        _run_task(recipe, options, out, [cell for cell in cells if cell.task == task], done)
    table = summarise([done[cell] for cell in cells], grid.baseline(recipe))
    (out / "summary.json").write_text(json.dumps(plain(table), indent=1) + "\n")
    print(text(table))
    print(report.build([out], out / "report.html", pictures=options.pictures))


def _run_task(
    recipe: BenchmarkRecipe, options: Options, out: Path, cells: list[Cell], done: dict[Cell, dict[str, Any]]
) -> None:
    first = grid.settings(recipe, cells[0], [])
    where = out / "data" / cells[0].task
    dataset.provide(first.data, where, first.augment.get("preset", "ct"))
    cache = dataset.open_cache(first, where)
    splits = out / f"splits_{cells[0].task}.json"
    splits.write_text(json.dumps(grid.subsets(recipe, first, cells, cache), indent=1) + "\n")
    source = [f"data.cache={dataset.folder(first.data, where)}", "data.manifest=null", f"data.splits={splits}"]
    parts = ["data.val=val", "data.test=test"]
    for number, cell in enumerate(cells, 1):
        found = grid.settings(recipe, cell, [*source, *parts, f"data.train={cell.fraction}_seed{cell.seed}"])
        init = grid.start(recipe, cell)
        mark = {"hash": found.hash(), "init_from": init}
        if cell in done:
            _check_same(cell, done[cell], mark)
            continue
        print(f"[{number} of {len(cells)}] {cell.folder.removeprefix('runs/')}", flush=True)
        done[cell] = _run(cell, found, options, init, out) | mark
        with (out / RESULTS).open("a") as file:
            file.write(json.dumps(plain(done[cell])) + "\n")


def _run(cell: Cell, recipe: FinetuneRecipe, options: Options, init: str, out: Path) -> dict[str, Any]:
    """Fine-tune one cell, going on where it was stopped; the line of results.jsonl."""
    began = time.monotonic()
    places = {"out": str(out / cell.folder), "init": init, "resume": True}
    results = tune(recipe, options.model_copy(update={**places, "overwrite": False, "check": False}))
    test, score = results["test"], results["score"]
    return {
        **cell._asdict(),
        "score": score,
        "value": test[score],
        "validation": results["validation"],
        "cases": results["cases"]["train"],
        "floor": (results["floor"] or {}).get(score),
        "seconds": round(time.monotonic() - began, 1),
        "overlap": len(results["overlap"]["patients"]),
        "settings": results["settings"],
        "spatial_dims": recipe.spatial_dims,
        "rows": test["rows"],
    }


def _finished(file: Path) -> dict[Cell, dict[str, Any]]:
    """The cells in results.jsonl; a last line that a kill cut short is taken out of the file."""
    lines = log.read(file)
    beside = file.with_name(f".{file.name}")
    beside.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.replace(beside, file)
    return {Cell(line["task"], line["init"], line["fraction"], line["seed"]): line for line in lines}


def _check_same(cell: Cell, line: dict[str, Any], mark: dict[str, str]) -> None:
    if any(line[name] != value for name, value in mark.items()):
        raise InputError(
            f"{cell.folder} is finished, but with other settings than the recipe has now: undo the change, or start a "
            "new benchmark with another out="
        )
