"""Every base x branch x crop policy x dimension runs, found from disk; the impossible pairs are named."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

import medssl
from medssl.kinds import kinds, named, resolve
from medssl.models.encoder import tiny
from medssl.pretraining.loop import train
from medssl.recipe import load
from medssl.testing import small
from medssl.types import InputError

torch.set_num_threads(1)

ROOT = Path(medssl.__file__).parent
BRANCHES = {"none": (False, False), "restore": (True, False), "restore+adversary": (True, True)}
IMPOSSIBLE = {  # (base, branch): the reason that the program gives
    (None, "none"): "nothing to learn",
}
SIZE, STEPS = 16, 3


def bases() -> list[str | None]:
    return [*kinds("method"), None]


def combinations() -> list[tuple[str | None, str, str, int]]:
    return list(itertools.product(bases(), BRANCHES, kinds("crop"), (2, 3)))


def modules_with_build(folder: str) -> set[str]:
    found = ((path, path.read_text()) for path in (ROOT / folder).glob("*.py"))
    return {path.stem for path, text in found if "\ndef build(" in text or "\nbuild = " in text}


def test_the_kinds_are_those_on_disk():
    assert set(kinds("method")) == modules_with_build("methods") >= {"moco_v2", "adco", "simsiam", "barlow_twins"}
    assert set(kinds("crop")) == modules_with_build("crop") >= {"random", "contrastive"}
    assert set(kinds("encoder")) == modules_with_build("models/encoder") >= {"tiny", "resnet", "resenc"}
    assert set(kinds("decoder")) == modules_with_build("models/decoder") >= {"unet"}
    assert set(kinds("intensity")) == modules_with_build("transforms/intensity") >= {"gamma", "window_jitter"}
    assert set(kinds("corrupt")) == modules_with_build("transforms/corruption") >= {"dira", "mask"}
    assert set(kinds("task")) == modules_with_build("tasks") >= {"segment", "classify"}


def test_the_combinations_are_all_there():
    expected = (len(modules_with_build("methods")) + 1) * len(BRANCHES) * len(modules_with_build("crop")) * 2
    assert len(combinations()) == expected >= 60


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> dict[int, Path]:
    from medssl.data.phantom.cases import phantom_cache

    made = {}
    for dims, preset in ((2, "xray"), (3, "ct")):
        made[dims] = tmp_path_factory.mktemp(f"cache{dims}") / "cache"
        phantom_cache(made[dims], 6, (24,) * dims, 0, preset)
    return made


def adversaries(base: str, settings: dict[str, int]) -> list[str]:
    """The names of a method's adversaries, asked of the method."""
    build, net = resolve("method", base).build, tiny.build(spatial_dims=2, in_channels=1)
    return list(build(**settings, **named(build, {"encoder": net, "samples": 8, "batch": 2, "steps": 9})).adversaries())


def recipe_text(base: str | None, branch: str, crop: str, dims: int, cache: Path) -> str:
    """One recipe for all: what a combination lacks is null."""
    restore, adversary = BRANCHES[branch]
    settings = small(resolve("method", base).build) if base else {}
    players = {"main": {"kind": "sgd", "lr": 0.01, "momentum": 0.9}}
    for name in adversaries(base, settings) if base else ():
        players[name] = {"kind": "sgd", "lr": 3.0, "momentum": 0.9, "schedule": "constant"}
    if adversary:
        players["discriminator"] = {"kind": "adam", "lr": 2e-4, "schedule": "constant"}
    start = 0 if base is None else 1
    recipe = {
        "spatial_dims": dims,
        "data": {"cache": str(cache)},
        "views": {"size": [SIZE] * dims, "preset": {2: "xray", 3: "ct"}[dims]},
        "crop": {"kind": crop} | ({"start": 1, "every": 1} if crop == "contrastive" else {}),
        "encoder": {"kind": "tiny"},
        "decoder": {"kind": "unet", "norm": "group", "skips": "add", "final": "shuffle"} if restore else None,
        "method": {"kind": base, **settings} if base else None,
        "restore": {"start": start} if restore else None,
        "adversary": {"start": start + 1} if adversary else None,
        "optimizers": players,
        "train": {"steps": STEPS, "batch": 2},
    }
    return json.dumps(recipe)


@pytest.mark.parametrize(("base", "branch", "crop", "dims"), combinations())
def test_a_combination_runs(base, branch, crop, dims, caches, tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe_text(base, branch, crop, dims, caches[dims]))
    recipe, options = load("pretrain", str(tmp_path / "recipe.yaml"), [f"out={tmp_path / 'run'}", "device=cpu"])
    if (base, branch) in IMPOSSIBLE:
        with pytest.raises(InputError, match=IMPOSSIBLE[base, branch]):
            train(recipe, options)
        return
    train(recipe, options)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    restore, adversary = BRANCHES[branch]
    expected = {"loss.discrimination"} if base else set()
    expected |= {"loss.restoration"} if restore else set()
    expected |= {"loss.adversarial", "loss.discriminator"} if adversary else set()
    logged = {name for name in lines[-1] if name.startswith("loss.")}
    own = {f"loss.{name}" for name in recipe.optimizers if name not in ("main", "discriminator")}
    assert logged - own == expected
    if adversary and base:
        assert "loss.adversarial" not in lines[1], "a stage that has not started must not be computed"
    weights = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["weights"]
    assert all(torch.isfinite(tensor).all() for tensor in weights.values() if tensor.is_floating_point())
