"""`medssl benchmark`: the same fine-tuning from several inits, with several amounts of labels and several seeds."""

from __future__ import annotations

import shutil
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from medssl import report
from medssl.benchmarking import fingerprint, grid, runs, slurm, subgroups, text
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
    from collections.abc import Iterator
    from pathlib import Path

    from medssl.recipe import BenchmarkRecipe, Options

RESULTS, SUMMARY, SUBGROUPS = "results.jsonl", "summary.json", "subgroups.json"
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
    planned = {
        task: _plan(recipe, options, out, [cell for cell in cells if cell.task == task], weights, done)
        for task in recipe.tasks
    }
    jobs = [job for found in planned.values() for job in found.jobs]
    for earlier in (SUMMARY, SUBGROUPS):  # of another grid, perhaps
        (out / earlier).unlink(missing_ok=True)
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe.resolved(), sort_keys=False))
    waiting = [job for job in jobs if job.cell not in done]
    before = len(jobs) - len(waiting)  # results.jsonl may hold cells of a larger grid too
    for number, (job, line) in enumerate(_lines(waiting, options, out, recipe), before + 1):
        with (out / RESULTS).open("a", encoding="utf-8") as file:
            file.write(files.line(line))
        done[job.cell] = line
        say(f"[{number} of {len(jobs)}] {job.cell.name} is done")
    by_group = {task: found.groups for task, found in planned.items() if found.groups}
    _compare(recipe, options, out, [done[cell] for cell in cells], by_group)


def _compare(
    recipe: BenchmarkRecipe, options: Options, out: Path, lines: list[Line], by_group: dict[str, subgroups.Groups]
) -> None:
    """Write what the finished grid says, and say it."""
    table = summarise(lines, grid.baseline(recipe), recipe)
    files.write_json(out / SUMMARY, table)
    if by_group:
        files.write_json(out / SUBGROUPS, subgroups.summarise(lines, by_group, grid.baseline(recipe)))
    say(verdict(table))
    say(text.table(table))
    say(str(report.build([out], out / "report.html", pictures=options.pictures)))


def _lines(jobs: list[Job], options: Options, out: Path, recipe: BenchmarkRecipe) -> Iterator[tuple[Job, Line]]:
    if recipe.submit is None or not jobs:
        return runs.lines(jobs, options, out, recipe.workers)
    return slurm.lines(jobs, options, out, recipe.submit)


class _Planned(NamedTuple):
    """What is to be run for one task, and the subgroups of its test cases."""

    jobs: list[Job]
    groups: subgroups.Groups


def _plan(
    recipe: BenchmarkRecipe,
    options: Options,
    out: Path,
    cells: list[Cell],
    weights: dict[str, str],
    done: dict[Cell, Line],
) -> _Planned:
    """The plan of one task; prepares its data if needed. Raises `InputError` for cells that were run differently."""
    first = grid.settings(recipe, cells[0], [])
    where, splits = out / "data" / cells[0].task, out / f"splits_{cells[0].task}.json"
    cases.provide(first.data, where, first.augment.get("preset", "ct"))
    cache = cases.open_cache(first, where)
    chosen = grid.subsets(recipe, first, cache)
    grid.check_test(first, cells[0].task, chosen["test"], cache)
    source = [f"data.cache={cases.folder(first.data, where)}", "data.manifest=null", f"data.splits={splits}"]
    jobs = []
    for cell in cells:
        parts = {"train": cell.subset, "val": "val", "test": "test"}
        found = grid.settings(recipe, cell, [*source, *(f"data.{part}={name}" for part, name in parts.items())])
        init, asked = grid.start(recipe, cell), grid.options(recipe, cell, options)
        ids = {part: chosen[name] for part, name in parts.items()}
        mark = fingerprint.make(found, cache, ids, f"{cell.init}:{weights[init]}", asked)
        jobs.append(Job(cell, found, init, asked.init_parts, mark))
    for job in jobs:
        _check_same(job, out, done)
    files.write_json(splits, chosen)
    return _Planned(jobs, subgroups.groups(cache.cases[name] for name in chosen["test"]))


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
