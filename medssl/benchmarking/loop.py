"""`medssl benchmark`: the same fine-tuning from several inits, with several amounts of labels and several seeds."""

from __future__ import annotations

import shutil
from itertools import product
from typing import TYPE_CHECKING, Any

import yaml

from medssl import report
from medssl.benchmarking import fingerprint, grid, runs, text
from medssl.benchmarking.comparison import summarise
from medssl.benchmarking.grid import Cell
from medssl.benchmarking.runs import Job
from medssl.build import finetune_setup
from medssl.data import files
from medssl.messages import say
from medssl.report.verdict import verdict
from medssl.runtime import cases, run_directory
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from medssl.recipe import BenchmarkRecipe, Options

RESULTS, SUMMARY = "results.jsonl", "summary.json"
Line = dict[str, Any]  # of results.jsonl


def benchmark(recipe: BenchmarkRecipe, options: Options) -> None:
    """Run what is not yet in results.jsonl, then compare; resume=true continues, also with a larger grid.

    Raises `InputError`, also if a cell was run with other data, weights or settings than it would be now.
    """
    if options.devices * options.num_nodes > 1:
        raise InputError("a benchmark makes its runs one by one on one device: leave devices and num_nodes at 1")
    cells = [Cell(*c) for c in product(recipe.tasks, recipe.inits, map(str, recipe.fractions), recipe.seeds)]
    for cell in {(cell.task, cell.init): cell for cell in cells}.values():  # before any run
        finetune_setup.check(grid.settings(recipe, cell, []))
    for cell in cells:
        grid.start(recipe, cell)
    if options.dry_run:
        say(f"the recipe is valid, {len(cells)} runs; nothing was run")
        return
    out = run_directory.claim(options)
    if options.overwrite:
        shutil.rmtree(out / "runs", ignore_errors=True)
    done = _finished(out / RESULTS)
    weights = fingerprint.weights(grid.start(recipe, cell) for cell in cells)
    jobs = [
        job
        for task in recipe.tasks
        for job in _jobs(recipe, options, out, [cell for cell in cells if cell.task == task], weights, done)
    ]
    (out / SUMMARY).unlink(missing_ok=True)  # it is about an earlier grid
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe.resolved(), sort_keys=False))
    waiting = [job for job in jobs if job.cell not in done]
    before = len(jobs) - len(waiting)  # results.jsonl may hold cells of a larger grid too
    for number, (job, line) in enumerate(runs.lines(waiting, options, out, recipe.workers), before + 1):
        with (out / RESULTS).open("a", encoding="utf-8") as file:
            file.write(files.line(line))
        done[job.cell] = line
        say(f"[{number} of {len(jobs)}] {job.cell.name} is done")
    table = summarise([done[cell] for cell in cells], grid.baseline(recipe), recipe)
    files.write_json(out / SUMMARY, table)
    say(verdict(table))
    say(text.table(table))
    say(str(report.build([out], out / "report.html", pictures=options.pictures)))


def _jobs(
    recipe: BenchmarkRecipe,
    options: Options,
    out: Path,
    cells: list[Cell],
    weights: dict[str, str],
    done: dict[Cell, Line],
) -> list[Job]:
    """The jobs of one task; prepares its data if needed. Raises `InputError` for cells that were run differently."""
    first = grid.settings(recipe, cells[0], [])
    where, splits = out / "data" / cells[0].task, out / f"splits_{cells[0].task}.json"
    cases.provide(first.data, where, first.augment.get("preset", "ct"))
    cache = cases.open_cache(first, where)
    chosen = grid.subsets(recipe, first, cache)
    source = [f"data.cache={cases.folder(first.data, where)}", "data.manifest=null", f"data.splits={splits}"]
    jobs = []
    for cell in cells:
        parts = {"train": cell.subset, "val": "val", "test": "test"}
        found = grid.settings(recipe, cell, [*source, *(f"data.{part}={name}" for part, name in parts.items())])
        init = grid.start(recipe, cell)
        ids = {part: chosen[name] for part, name in parts.items()}
        jobs.append(
            Job(cell, found, init, fingerprint.make(found, cache, ids, f"{cell.init}:{weights[init]}", options))
        )
    for job in jobs:
        _check_same(job, out, done)
    files.write_json(splits, chosen)
    return jobs


def _finished(file: Path) -> dict[Cell, Line]:
    """The cells in results.jsonl; a last line that a kill cut short is removed."""
    lines = files.read_lines(file)
    files.write_lines(file, lines)
    return {Cell(line["task"], line["init"], line["fraction"], line["seed"]): line for line in lines}


def _check_same(job: Job, out: Path, done: dict[Cell, Line]) -> None:
    """Check a finished cell by its line, a started one by the fingerprint in its run directory."""
    before = done.get(job.cell, fingerprint.begun(out / job.cell.folder))
    if before is not None:
        fingerprint.check(job.cell.name, before, job.fingerprint)
