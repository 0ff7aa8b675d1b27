"""Values for `auto` settings from data, initial weights or a resumed run; see `medssl.recipe.auto`."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl import recipe as recipes
from medssl.build import kinds, parts
from medssl.data import manifest, presets
from medssl.data.cache import Cache
from medssl.models import foreign, weights
from medssl.recipe.auto import AUTO, IMAGES, Known
from medssl.runtime import init_weights, resume
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.recipe import Changes, Options, Source

BATCH = {"batch", "sync_batch"}  # norms with the same tensors


def load(verb: str, recipe: Source, overrides: Changes = (), *, like: str | os.PathLike[str] | None = None) -> Any:
    """A recipe and its run options, as `medssl.recipe.load`, with `auto` replaced from the data and the weights.

    `like` is a run whose network is used for a fine-tuning from scratch. Raises `InputError` also if the recipe names
    another network than that of the weights it loads.
    """
    return recipes.load(verb, recipe, overrides, partial(known, like=like))


def known(verb: str, content: dict[str, Any], options: Options, like: str | os.PathLike[str] | None = None) -> Known:
    """What is known about a recipe that is not checked yet."""
    before = _continued(verb, options)
    if before is not None:
        return _of_run(verb, before)
    data = content.get("data")
    found = _of_data(data) if isinstance(data, dict) else Known()
    start = options.init if options.init not in (None, init_weights.SCRATCH) else like
    if verb != "finetune" or start is None:
        return found
    path = init_weights.find(os.fspath(start))
    theirs = _recipe_in(path, path.stat().st_mtime_ns)
    if theirs is None:
        return found
    dense = _dense(content)
    asked = content.get("spatial_dims", AUTO)
    dims = (found.spatial_dims if asked == AUTO else asked) or theirs["spatial_dims"]
    if options.init == start:
        _check_networks(content, theirs, options, dims, dense=dense)
    decoder = theirs.get("decoder") if dense else None
    return found._replace(spatial_dims=dims, encoder=theirs["encoder"], decoder=decoder)


@lru_cache(maxsize=8)
def _recipe_in(path: Path, changed: int) -> dict[str, Any] | None:
    """The recipe in a checkpoint, cached; of recognised weights of other tools, what is known of their network."""
    found: dict[str, Any] | None = init_weights.about(path).get("recipe")
    if found is not None:
        return found
    other = foreign.recognise(weights.read(path))
    return None if other is None else {"spatial_dims": other.spatial_dims, "encoder": other.encoder, "decoder": None}


def _continued(verb: str, options: Options) -> dict[str, Any] | None:
    """The recipe of the run that resume=true continues."""
    if not options.resume or options.out is None:
        return None
    content = resume.last(Path(options.out), verb)
    return None if content is None else content["recipe"]


def _of_run(verb: str, recipe: dict[str, Any]) -> Known:
    images = recipe[IMAGES[verb]]
    seeing = {key: images[key] for key in resume.SINCE if key in images}
    return Known(
        spatial_dims=recipe["spatial_dims"],
        channels=recipe["channels"],
        preset=images["preset"],
        encoder=recipe["encoder"],
        decoder=recipe["decoder"],
        seeing=seeing,
    )


def _of_data(data: dict[str, Any]) -> Known:
    """What a cache, a manifest that is not prepared yet, or phantoms tell."""
    where, listed, phantom = (data.get(key) for key in ("cache", "manifest", "phantom"))
    prepared = Path(where) if where else Path(listed).with_suffix(".cache") if listed else None
    if prepared is not None and (prepared / "cache.json").is_file():
        cache = Cache(prepared)
        case = next(iter(cache.cases.values()), None)
        shape, channels = (None, None) if case is None else (len(case.shape), case.channels)
        return Known(shape, channels, cache.preprocessing["preset"])
    if listed and Path(listed).is_file():
        return Known(preset=_preset(Path(listed)))
    if isinstance(phantom, dict) and isinstance(phantom.get("size"), list) and not where:
        return Known(len(phantom["size"]))
    return Known()


def _preset(path: Path) -> str | None:
    """The preset that fits all modalities of a manifest, if there is one; OT (as for NIfTI) is ignored."""
    found = {row.modality for row in manifest.read(path).rows} - {"OT"}
    fitting = [name for name, preset in presets.PRESETS.items() if found <= set(preset.modalities)]
    return fitting[0] if found and fitting else None


def _dense(content: dict[str, Any]) -> bool:
    """Whether the task needs a decoder; a task that cannot be made is refused later."""
    task = content.get("task")
    if not isinstance(task, dict) or not isinstance(task.get("kind"), str):
        return False
    try:
        supplied = {"spatial_dims": 3, "channels": 1}
        return bool(kinds.make("task", task, supplied).dense)
    except InputError:
        return False


def _check_networks(
    content: dict[str, Any], theirs: dict[str, Any], options: Options, dims: int, *, dense: bool
) -> None:
    """Raise `InputError` if the recipe's encoder or decoder differs from that of the weights to load."""
    if dims != theirs["spatial_dims"]:
        raise InputError(
            f"the images are {dims}D, but init={options.init} holds a {theirs['spatial_dims']}D network: "
            "use data and weights of the same dimension"
        )
    asked = options.init_parts or (["encoder", "decoder"] if dense else ["encoder"])
    loaded = {asked} if isinstance(asked, str) else set(asked)
    for group in ("encoder", "decoder"):
        ours, other = content.get(group), theirs.get(group)
        if not (isinstance(ours, dict) and isinstance(other, dict) and loaded & {group, "all"}):
            continue
        if (key := _difference(group, ours, other)) is not None:
            raise InputError(
                f"{group} has {key}={_filled(group, ours).get(key)}, but that of init={options.init} has "
                f"{key}={_filled(group, other).get(key)}: set {group}=auto to use the network of init"
            )


def _difference(group: str, ours: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first setting in which two networks differ; norms with the same tensors count as equal."""
    if ours.get("kind") != other.get("kind"):
        return "kind"
    one, two = _filled(group, ours), _filled(group, other)
    return next((key for key in one if one[key] != two.get(key) and {str(one[key]), str(two.get(key))} != BATCH), None)


def _filled(group: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a network with all defaults."""
    if not isinstance(settings.get("kind"), str):
        return settings
    return kinds.filled(kinds.resolve(group, settings["kind"]).build, settings, parts.SUPPLIED[group])
