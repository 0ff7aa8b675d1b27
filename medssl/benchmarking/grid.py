"""The grid of a benchmark: its runs (cells), the fine-tuning recipe of each, and the training subsets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.build import finetune_setup, kinds
from medssl.recipe import BenchmarkRecipe, FinetuneRecipe, Options
from medssl.runtime import init_weights
from medssl.runtime.cases import listed
from medssl.runtime.init_weights import SCRATCH
from medssl.runtime.known import load
from medssl.runtime.subsets import subsets as named_subsets
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from medssl.data.cache import Cache


class Cell(NamedTuple):
    """One run of the grid."""

    task: str
    init: str  # its name in the recipe
    fraction: str
    seed: int

    @property
    def folder(self) -> str:
        """The path of its run directory within that of the benchmark."""
        return f"runs/{self.name}"

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.task}/{self.init}/{self.fraction}/seed{self.seed}"

    @property
    def subset(self) -> str:
        """The name of its training subset, which all inits of a fraction and seed share."""
        return f"{self.fraction}_seed{self.seed}"


def settings(recipe: BenchmarkRecipe, cell: Cell, more: list[str]) -> FinetuneRecipe:
    """The fine-tuning recipe of a cell: that of the task, with the overrides of task, init and grid, in this order."""
    changes = {key: value for key, value in recipe.tasks[cell.task].items() if key != "recipe"}
    if "recipe" not in recipe.tasks[cell.task]:
        raise InputError(
            f"tasks.{cell.task} names no recipe: set tasks.{cell.task}.recipe=NAME of a fine-tuning recipe"
        )
    start = init(recipe, cell.init)
    name = str(recipe.tasks[cell.task]["recipe"])
    overrides = [*_flat(changes), *_flat(start.get("overrides", {})), *more, f"seed={cell.seed}"]
    found, options = load("finetune", name, overrides, like=_network_of(recipe, cell))
    if options != Options():
        raise InputError(f"tasks.{cell.task} sets run options, but they belong to the benchmark: remove them")
    assert isinstance(found, FinetuneRecipe)
    steps = found.train.steps * int(start.get("longer", 1))
    return found.model_copy(update={"train": found.train.model_copy(update={"steps": steps})})


def _network_of(recipe: BenchmarkRecipe, cell: Cell) -> str | None:
    """The run from which a cell takes its network if its recipe says auto: its own init, or for scratch another one."""
    names = [cell.init, *recipe.inits]
    paths = [str(init(recipe, name)["init"]).replace("{seed}", str(cell.seed)) for name in names]
    return next((path for path in paths if path != SCRATCH), None)


def init(recipe: BenchmarkRecipe, name: str) -> dict[str, Any]:
    """`PATH`, `scratch` or `{init: .., parts: [..], overrides: {..}, longer: 3}` as the latter.

    `longer` multiplies the steps; `{seed}` in a path is replaced by the cell's seed, for repeated pretrainings; `parts`
    are those that are loaded, as in init_parts=. Raises `InputError`.
    """
    given = recipe.inits[name]
    init: dict[str, Any] = {"init": given} if isinstance(given, str) else dict(given)
    unknown = set(init) - {"init", "parts", "overrides", "longer"}
    if unknown or not isinstance(init.get("init"), str) or not isinstance(init.get("longer", 1), int):
        raise InputError(
            f"inits.{name} is {given}: give a run, scratch, or init, parts, overrides and longer (a whole number)"
        )
    if "parts" in init:
        init["parts"] = _parts(name, init)
    return init


def _parts(name: str, init: Mapping[str, Any]) -> list[str]:
    parts = [init["parts"]] if isinstance(init["parts"], str) else init["parts"]
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise InputError(f"inits.{name}.parts is {init['parts']}: give the parts to load, such as [encoder]")
    if init["init"] == SCRATCH:
        raise InputError(f"inits.{name} loads nothing from scratch: remove its parts, or name a run")
    return parts


def options(recipe: BenchmarkRecipe, cell: Cell, given: Options) -> Options:
    """The run options of a cell: those of the benchmark, with the parts that its init names."""
    parts = init(recipe, cell.init).get("parts")
    return given if parts is None else given.model_copy(update={"init_parts": parts})


def start(recipe: BenchmarkRecipe, cell: Cell) -> str:
    """The `init=` of a cell: a path, or scratch. Raises `InputError` if there is no such run."""
    path = str(init(recipe, cell.init)["init"]).replace("{seed}", str(cell.seed))
    if path != SCRATCH:
        init_weights.find(path)
    return path


def baseline(recipe: BenchmarkRecipe) -> str | None:
    """The init that the others are compared with: scratch without overrides."""
    plain_scratch = [name for name in recipe.inits if init(recipe, name) == {"init": "scratch"}]
    return plain_scratch[0] if plain_scratch else None


def subsets(recipe: BenchmarkRecipe, first: FinetuneRecipe, cache: Cache) -> dict[str, list[str]]:
    """The ids of val, of test, and of the training subset of each fraction and seed."""
    usable = kinds.variant("task", first.task).labelled
    whole = named_subsets(cache, first.data, usable)
    chosen = {"val": whole["val"], "test": whole["test"]}
    for fraction, seed in {(str(f), s): None for f in recipe.fractions for s in recipe.seeds}:
        name = f"{fraction}_seed{seed}"
        share = _share(fraction)
        if share is not None:
            chosen[name] = _part(whole["train"], share, cache, seed)
        else:
            chosen[name] = _named(first, cache, fraction, seed)
    return chosen


def check_test(recipe: FinetuneRecipe, task: str, test: list[str], cache: Cache) -> None:
    """Raise `InputError` if the test of a task on class names has one class: it has no AUC, and nothing to compare."""
    found = {cache.cases[name].classes for name in test}
    made = finetune_setup.task_of(recipe, finetune_setup.plan(recipe).augment)
    if len(found) == 1 and found != {()} and not made.dense:
        (only,) = found
        raise InputError(
            f"the test of tasks.{task} has one class only ({';'.join(only)}, {len(test)} cases), so its AUC is not "
            "defined: split the patients so that the test has all classes"
        )


def _share(fraction: str) -> float | None:
    try:
        share = float(fraction)
    except ValueError:
        return None
    if not 0 < share <= 1:
        raise InputError(
            f"fractions has {fraction}: give shares above 0 and up to 1, or names of subsets in data.splits"
        )
    return share


def _part(train: list[str], share: float, cache: Cache, seed: int) -> list[str]:
    """The cases of the first patients in the random order of `seed`; at least one patient.

    Seeds differ in which patients have labels, so that the results include that variation; within a seed, the
    smaller share is part of the larger.
    """
    patients = sorted({cache.cases[name].patient for name in train})
    order = np.random.default_rng(seed).permutation(len(patients))
    kept = {patients[i] for i in order[: max(1, round(share * len(patients)))]}
    return [name for name in train if cache.cases[name].patient in kept]


def _named(recipe: FinetuneRecipe, cache: Cache, fraction: str, seed: int) -> list[str]:
    """The subset `seedS_NAME` of the task's split file, or else `NAME`."""
    if recipe.data.splits is None:
        raise InputError(f"fractions names the subset {fraction}, but data.splits names no file with subsets")
    with_seed = f"seed{seed}_{fraction}"
    name = with_seed if with_seed in json.loads(Path(recipe.data.splits).read_text()) else fraction
    return listed(cache, recipe.data, [name])[name]


def _flat(changes: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested overrides as `key.sub=value`."""
    for key, value in changes.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"
