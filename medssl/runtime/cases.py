"""The data of a run: the cache it names, or one made for it from a manifest or from phantoms."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.data import manifest
from medssl.data.cache import Cache
from medssl.messages import progress, say
from medssl.recipe import PretrainRecipe
from medssl.recipe.auto import PRESET
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medssl.recipe import Recipe
    from medssl.recipe.frame import Data

SMALLEST = 16  # voxels per side that a phantom needs to hold a body with organs


def folder(data: Data, out: Path) -> Path:
    """The folder of a run's cache; data.cache takes precedence over phantoms that the recipe would generate."""
    if data.cache is not None and data.manifest is not None:
        raise InputError("data.cache and data.manifest are both set: a cache already holds its manifest, so set one")
    if data.cache is not None:
        return Path(data.cache)
    if data.manifest is not None:
        return Path(data.manifest).with_suffix(".cache")
    if data.phantom is not None:
        return out / "data" / "cache"
    raise InputError("no data is given: set data.cache=DIR (written by `medssl prepare`) or data.manifest=FILE")


def provide(data: Data, out: Path, preset: str) -> None:
    """Make the cache of a run if it has none; only rank 0 calls this."""
    where = folder(data, out)
    if data.cache is not None:
        return
    if data.manifest is not None:
        from medssl.data.prepare import prepare

        say(f"preparing {data.manifest} into {where} (preset {preset}); data.cache={where} reuses it")
        try:
            with progress() as update:
                prepare(Path(data.manifest), where, preset=preset, progress=update)
        except InputError as error:
            raise InputError(f"{error} (or run `medssl prepare` yourself and set data.cache=DIR)") from error
    elif data.phantom is not None:
        from medssl.data.phantom.cases import phantom_cache

        phantom = data.phantom
        if min(phantom.size) < SMALLEST or len(phantom.size) not in (2, 3):
            raise InputError(f"data.phantom.size={phantom.size}: give 2 or 3 sides of at least {SMALLEST} voxels")
        phantom_cache(where, phantom.cases, tuple(phantom.size), phantom.seed, preset)


def expected(data: Data, out: Path) -> int | None:
    """Upper bound of the training cases, known without reading an image; None if there is no bound."""
    where = folder(data, out)
    if data.cache is not None:
        return len(training_ids(Cache(where), data))
    if data.manifest is not None:
        splits = [row.split for row in manifest.read(Path(data.manifest)).rows]
    else:
        from medssl.data.phantom.cases import split

        cases = data.phantom.cases if data.phantom is not None else 0
        splits = [split(index, cases) for index in range(cases)]
    if data.splits is not None:
        return len(splits) or None
    return sum(name == data.train if data.train is not None else name != "test" for name in splits) or None


def open_cache(recipe: Recipe, out: Path, *, continued: bool = False) -> Cache:
    """Open the cache of a run. Raises InputError if it does not fit the recipe.

    A run that is `continued` keeps the preset that it began with, even if its images were prepared with another.
    """
    where = folder(recipe.data, out)
    cache = Cache(where)
    if not cache.cases:
        raise InputError(f"cache {where} is empty: prepare a manifest with images")
    for case in cache.cases.values():
        if len(case.shape) != recipe.spatial_dims:
            raise InputError(
                f"case {case.id} of {where} has {len(case.shape)} axes, but spatial_dims is {recipe.spatial_dims}: "
                "use a recipe of that dimension"
            )
        if case.channels != recipe.channels:
            raise InputError(
                f"case {case.id} of {where} has {case.channels} channel(s), but channels is {recipe.channels}: "
                f"set channels={case.channels}, or channels=auto"
            )
    if not continued:
        _check_preset(recipe, cache)
    return cache


def _hasher(data: Data) -> Callable[[str], str] | None:
    """What makes of file names the hashes that a cache holds, under the key that `data.key` names; None without it."""
    if data.key is None:
        return None
    if not Path(data.key).is_file():
        raise InputError(f"there is no key at {data.key}: data.key names the .key file beside the manifest")
    return partial(manifest.keyed_hash, manifest.read_key(Path(data.key), Path(data.key)), "stem")


def listed(cache: Cache, data: Data, names: Sequence[str]) -> dict[str, list[str]]:
    """The sorted ids of the subsets `names` of the file `data.splits`. Raises `InputError`."""
    from medssl.data.split import subsets

    assert data.splits is not None
    return subsets(list(cache.cases.values()), Path(data.splits), names, _hasher(data))


def named(data: Data) -> str:
    """A short name of the data: that of the folder or manifest, without its path."""
    place = data.cache or data.manifest
    return "phantoms" if place is None else Path(place).absolute().name


def check_given(recipe: Recipe) -> None:
    """Raises InputError if the cache that a recipe names does not fit it."""
    if recipe.data.cache is not None:
        open_cache(recipe, Path())


def _check_preset(recipe: Recipe, cache: Cache) -> None:
    """Raises InputError if images prepared with one preset would be read with another."""
    group = "views" if isinstance(recipe, PretrainRecipe) else "augment"
    settings, prepared = getattr(recipe, group), cache.preprocessing["preset"]
    asked = settings.get("preset", PRESET)
    if asked != prepared:
        own = [f"{group}.{key}=null" for key in ("intensity", "warp") if settings.get(key) is not None]
        raise InputError(
            f"{group}.preset is {asked}, but {cache.path} was prepared as {prepared}: for the augmentation of "
            f"{prepared} give {' '.join([f'{group}.preset=auto', *own])}"
        )


def training_ids(cache: Cache, data: Data) -> list[str]:
    """The training cases of a pretraining, sorted: the subset that `data.train` names, else all but the test split."""
    if data.train is None and data.splits is not None:
        raise InputError(f"data.splits={data.splits} is set, but not which of its subsets to train on: set data.train")
    if data.train is None:
        ids = [case.id for case in cache.cases.values() if case.split != "test"]
    elif data.splits is not None:
        ids = listed(cache, data, [data.train])[data.train]
    else:
        ids = [case.id for case in cache.cases.values() if case.split == data.train]
    if not ids:
        splits = sorted({case.split for case in cache.cases.values()})
        raise InputError(f"data.train={data.train} selects none of {len(cache.cases)} cases (splits there: {splits})")
    return sorted(ids)
