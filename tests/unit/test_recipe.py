"""Recipes: parsing, overrides, and the sentences said when something does not fit."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medssl.recipe import load, parse, put, shipped, split
from medssl.types import InputError

RECIPE = """
seed: 0
spatial_dims: 3
channels: 1
data: {phantom: {cases: 12, size: [48, 48, 48]}}
views: {size: [32, 32, 32], preset: ct}
crop: {kind: contrastive}
encoder: {kind: tiny}
decoder: {kind: unet}
method: {kind: adco}
restore: {weight: 10.0, start: 0.2}
adversary: null
optimizers:
  main: {kind: sgd, lr: 3e-2, momentum: 0.9, weight_decay: 1e-4}
train: {steps: 60, batch: 4, precision: 32}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return str(path)


def test_overrides_reach_their_group_and_options_stay_out_of_the_recipe(recipe):
    made, options = load("pretrain", recipe, ["train.steps=100", "optimizers.main.lr=1e-3", "out=run", "resume=true"])
    assert made.train.steps == 100
    assert made.optimizers["main"].lr == 1e-3
    assert made.train.precision == "32"
    assert (options.out, options.resume, options.device) == ("run", True, "auto")
    assert "out" not in made.resolved()


def test_numbers_in_scientific_form_are_numbers():
    for text, value in {"1e-4": 1e-4, "-2.5E+3": -2500.0, ".5e1": 5.0, "3": 3, "1e": "1e", "v1e4": "v1e4"}.items():
        assert parse(text, "value") == value
        assert type(parse(text, "value")) is type(value)


def test_the_hash_follows_what_is_computed_and_nothing_else(recipe):
    plain = load("pretrain", recipe, [])[0].hash()
    assert load("pretrain", recipe, ["data.workers=3", "device=cpu", "data.cache=elsewhere"])[0].hash() == plain
    for change in ("seed=1", "train.steps=61", "views.preset=mr", "method.temperature=0.1"):
        assert load("pretrain", recipe, [change])[0].hash() != plain


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trian.steps=3", ["'trian'", "did you mean 'train'"]),
        ("train.step=3", ["'train.step'", "did you mean 'steps'"]),
        ("devics=2", ["did you mean 'devices'"]),
        ("train.steps=abc", ["'train.steps'", "integer", "'abc'"]),
        ("train.steps=3.0", ["'train.steps'", "integer", "3.0"]),
        ("train.steps='3'", ["'train.steps'", "integer", "'3'"]),
        ("train.batch=0", ["'train.batch'", "greater than or equal to 1", "0"]),
        ("train.validate_every=1.5", ["share of the run", "1.5"]),
        ("train.precision=16", ["'32', 'bf16' or '64'", "16"]),
        ("device=tpu", ["'auto', 'cpu' or 'cuda'", "'tpu'"]),
        ("resume=perhaps", ["'resume'", "boolean", "'perhaps'"]),
        ("optimizers.main.kind=lion", ["'optimizers.main.kind'", "'lion'"]),
        ("seed.deep=1", ["'seed' is the value 0"]),
        ("method={kind: [", ["the value of method is not YAML"]),
        ("steps", ["key.sub=value"]),
        ("crop={}", ["'crop'", "kind"]),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(recipe, override, words):
    with pytest.raises(InputError) as error:
        load("pretrain", recipe, [override])
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_missing_recipe_is_named_with_the_closest_one():
    with pytest.raises(InputError, match="did you mean 'phantom_tiny'"):
        load("pretrain", "phantom_tny", [])
    with pytest.raises(InputError, match="does not exist"):
        load("pretrain", "nowhere.yaml", [])


def test_a_key_written_twice_is_refused(tmp_path):
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(InputError, match="'seed' is written twice"):
        load("pretrain", str(tmp_path / "twice.yaml"), [])


def test_every_shipped_recipe_fits_its_frame_and_opens_with_its_header():
    found = shipped()
    assert len(found) == len(list(Path("recipes").rglob("*.yaml"))) >= 6
    for path in found:
        load(path.parent.name, str(path), [])
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        for word in ("# run: medssl", "# takes:", "# expect:"):
            assert any(line.startswith(word) for line in header), f"{path} lacks a line `{word}`"


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abc"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(plain)
def test_what_yaml_writes_is_read_back(value):
    assert parse(yaml.safe_dump(value), "value") == value


@given(st.lists(st.text("abcd_", min_size=1), min_size=1, max_size=4), st.integers())
def test_put_sets_exactly_the_named_key(groups, value):
    content = {"other": 1}
    put(content, ".".join(["top", *groups]), value)
    inner = content["top"]
    for group in groups:
        inner = inner[group]
    assert inner == value
    assert content["other"] == 1


@given(st.text())
def test_any_override_is_taken_or_refused_in_words(text):
    key = None
    with contextlib.suppress(InputError):  # any other error is a fault
        key, _ = split(text)
    assert key is None or text.startswith(f"{key}=")
