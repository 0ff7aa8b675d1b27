"""The model card of exported weights: how they were made, what was measured, what they are not for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from medssl import __version__
from medssl.export import learned, overrides
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.export.learned import Learned

CARD = """---
{front}---

# {title}

{what} of medssl {version}, {how}, {samples} training images ({dims}D, {channels} channel(s), preset
`{preset}`). {parts}.
{patent}
## Use

```python
import medssl

encoder = medssl.load_encoder("FOLDER")  # the folder that holds this file
maps = encoder(x)  # images (B,{channels},{axes}) in [0, 1] -> feature maps, fine to coarse
```

`medssl finetune RECIPE init=FOLDER` starts from it, `medssl embed FOLDER IMAGES` writes features, of images
prepared as these were (`preprocessing.json`).

## Data and licence

{data}
Licence of these weights: {licence}. The cache they were trained on has the SHA-256 `{cache}`; it is that of the
prepared arrays and settings, and holds no name. No patient's name, id, date or path is in these files.

## How they were made

`config.json` has the whole recipe. The same run from medssl {version}:

```
{command}
```

## What was measured

{figures}
## Intended use and limits

For research: a start for fine-tuning, and features to be probed. It is no medical device, and nothing here says how it
does on other scanners, populations or diseases than those it was trained and tested on. Test patients of your own that
were in the training data make a test too kind; `medssl finetune` says so where the two were scanned with one key.

SHA-256 of `model.safetensors`: `{digest}`
"""


class Told(NamedTuple):
    """What the user says of the weights, since no run knows it."""

    name: str | None
    license: str
    data: str | None
    results: Sequence[str]


def write(found: Learned, told: Told, digest: str, own: dict[str, Any] | None) -> str:
    """The card as Markdown with YAML front matter; `own` is the results.json of the run, if it was a fine-tuning."""
    recipe, dims = found.content["recipe"], found.recipe.spatial_dims
    measured = [one for one in (own, *map(_results, told.results)) if one is not None]
    words = overrides.command(found.content["verb"], recipe)
    config = found.config()
    return CARD.format(
        front=yaml.safe_dump(_front(found, told, measured), sort_keys=False, allow_unicode=True),
        title=told.name or f"{_method(recipe)} on {found.preprocessing['preset']} images",
        what={"pretrain": "A pretraining", "finetune": "A fine-tuning"}[found.content["verb"]],
        version=__version__,
        how=f"step {found.content['state']['step']}",
        samples=found.content["data"]["samples"],
        dims=dims,
        channels=recipe["channels"],
        preset=found.preprocessing["preset"],
        parts=", ".join(f"{name}: {about['parameters']:,} parameters" for name, about in config["parts"].items()),
        patent=f"\n{learned.PATENT}\n" if recipe.get("restore") is not None else "",
        axes="D,H,W" if dims == 3 else "H,W",
        data=told.data or "What they were trained on was not said at export (`data=`).",
        licence=told.license if told.license != "unknown" else "not said at export (`license=`)",
        cache=found.content["data"]["cache"],
        command=shlex.join(["medssl", *words, "data.cache=CACHE", "out=RUN"]),
        figures=_figures(measured),
        digest=digest,
    )


def _front(found: Learned, told: Told, measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    recipe, preset = found.content["recipe"], found.preprocessing["preset"]
    tags = ["medical-imaging", "self-supervised-learning", preset, f"{recipe['spatial_dims']}d", _method(recipe)]
    front: dict[str, Any] = {
        "license": told.license,
        "library_name": "medssl",
        "pipeline_tag": "image-segmentation" if found.dense else "image-feature-extraction",
        "tags": list(dict.fromkeys(tags)),
    }
    if measured:
        front["model-index"] = [{"name": told.name or "medssl", "results": [_entry(one, preset) for one in measured]}]
    return front


def _entry(results: dict[str, Any], preset: str) -> dict[str, Any]:
    score = results["score"]
    dense = results["task"] == "segment"
    return {
        "task": {"type": "image-segmentation" if dense else "image-classification"},
        "dataset": {"name": f"{results['test']['cases']} test cases ({preset})", "type": "private"},
        "metrics": [{"type": score, "value": results["test"].get(score)}],
    }


def _method(recipe: dict[str, Any]) -> str:
    """What it learned by: the method and its branches, or the task."""
    if "task" in recipe:
        return str(recipe["task"]["kind"])
    names = [
        (recipe.get("method") or {}).get("kind", ""),
        *(name for name in ("restore", "adversary") if recipe.get(name)),
    ]
    return "+".join(name for name in names if name)


def _results(run: str) -> dict[str, Any]:
    """The results.json of a fine-tuning or probe. Raises `InputError`."""
    file = Path(run) / "results.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text())
        content["test"]["cases"], content["score"], content["task"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"results={run} has no results.json of a complete fine-tuning: give such a run") from error
    return content


def _figures(measured: Sequence[dict[str, Any]]) -> str:
    if not measured:
        return "Nothing: no fine-tuning from these weights was given at export (`results=RUN`).\n"
    lines = [
        "| task | started from | test cases | patients | score | value | 95% interval | with no image |",
        "|" + "---|" * 8,
    ]
    for one in measured:
        test, score = one["test"], one["score"]
        low, high = test["interval"]["low"], test["interval"]["high"]
        floor = (one.get("floor") or {}).get(score)
        cells = [one["task"], one["init"], test["cases"], test["patients"], score, _number(test.get(score))]
        cells += [f"{_number(low)} to {_number(high)}" if low is not None else "-", _number(floor)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
