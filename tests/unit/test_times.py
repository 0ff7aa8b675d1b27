"""Every way to write a time, read once: shares, steps, and epochs once the number of samples is known."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medssl.recipe import FinetuneRecipe, PretrainRecipe, ambiguous_times, in_steps, validate
from medssl.times import ambiguous, epochs, plain, repeated, steps_of
from medssl.types import InputError

RECIPE = """
spatial_dims: 3
views: {size: [32, 32, 32]}
crop: {kind: contrastive, start: 2 epochs, every: 1.5 epochs}
encoder: {kind: tiny}
decoder: {kind: unet}
method: {kind: adco, end: 20 epochs}
restore: {start: 1 epoch, warmup: .5 epochs}
adversary: {start: 0.6, warmup: 3, end: 0.9}
optimizers: {main: {kind: sgd, lr: 0.03, warmup: 0.1 epochs}, bank: {kind: sgd, lr: 3.0, warmup: 0.1}}
train: {steps: 100, batch: 4, checkpoint_every: 3 epochs, validate_every: 7}
"""


def recipe(**train):
    content = yaml.safe_load(RECIPE)
    return validate(PretrainRecipe, {**content, "train": {**content["train"], **train}}, "recipe")


def test_epochs_become_steps_and_all_else_stays():
    written = recipe()
    found = in_steps(written, 10)  # an epoch is 2.5 steps
    assert found.crop == {"kind": "contrastive", "start": 5, "every": 4}
    assert found.method == {"kind": "adco", "end": 50}
    assert found.restore == {"start": 3, "warmup": 2}
    assert found.adversary == written.adversary
    assert (found.optimizers["main"].warmup, found.optimizers["bank"].warmup) == (1, 0.1)
    assert (found.train.checkpoint_every, found.train.validate_every, found.train.steps) == (8, 7, 100)
    assert {type(time) for time in (*found.restore.values(), found.train.checkpoint_every)} == {int}
    assert in_steps(found, 10_000) is found, "a recipe without epochs is left alone"
    assert written.resolved()["restore"]["start"] == "1 epoch", "what is compared on resume is what was written"


def test_a_finetuning_has_times_too():
    content = {"spatial_dims": 2, "encoder": {"kind": "tiny"}, "task": {"kind": "segment"}, "augment": {}}
    content["optimizers"] = {"main": {"kind": "sgd", "lr": 0.1, "warmup": "2 epochs"}}
    content["train"] = {"steps": 9, "batch": 2, "validate_every": "1 epochs"}
    found = in_steps(validate(FinetuneRecipe, content, "recipe"), 5)
    assert (found.optimizers["main"].warmup, found.train.validate_every) == (5, 3)


def test_without_a_number_of_samples_every_time_is_its_default():
    found = in_steps(recipe(), None)
    assert found.crop == {"kind": "contrastive"}
    assert (found.method, found.restore, found.adversary) == ({"kind": "adco"}, {}, {})
    assert (found.optimizers["bank"].warmup, found.train.validate_every) == (0, 0.1)


@given(st.integers(0, 400), st.integers(1, 10_000), st.integers(1, 512))
def test_an_epoch_is_samples_over_batch_rounded_up_exactly(tenths, samples, batch):
    found = in_steps(recipe(batch=batch, checkpoint_every=f"{tenths / 10} epochs"), samples)
    assert found.train.checkpoint_every == math.ceil(Fraction(tenths * samples, 10 * batch))


@pytest.mark.parametrize(
    "text",
    ["epochs", "-1 epochs", "1e2 epochs", "10 epoch s", "10", "", ". epochs", "120%", "1.5 steps", "-3 steps", "20 %%"],
)
def test_other_text_is_no_time(text):
    assert epochs(text) is None
    with pytest.raises(ValueError, match="must be a time"):
        plain(text)
    with pytest.raises(InputError, match="must be a time"):
        steps_of(text, 100)
    with pytest.raises(InputError, match=r"'train.checkpoint_every' must be a time.*'10 epochs'.*was given"):
        recipe(checkpoint_every=text)


@pytest.mark.parametrize(
    ("time", "steps"),
    [
        (1.0, 200),
        (1, 1),
        (0.0, 0),
        (0, 0),
        (0.2, 40),
        (0.333, 67),
        (500, 500),
        ("20%", 40),
        ("33.3%", 67),
        ("100%", 200),
        ("500 steps", 500),
        ("1 step", 1),
        ("0%", 0),
        ("7steps", 7),
    ],
)
def test_the_unit_decides_and_for_a_number_alone_its_point(time, steps):
    assert steps_of(time, 200) == steps


@pytest.mark.parametrize("time", [1.5, -1, -0.1, True, None, float("nan"), "10 epochs"])
def test_what_is_no_time_of_a_run_is_refused_by_its_name(time):
    with pytest.raises(InputError, match=r"crop\.start"):
        steps_of(time, 100, "crop.start")


@given(st.integers(0, 1000), st.integers(1, 100_000))
def test_a_share_in_percent_is_the_share_as_a_float(thousandths, total):
    assert plain(f"{thousandths / 10}%") == float(Fraction(thousandths, 1000))
    assert steps_of(f"{thousandths / 10}%", total) == steps_of(float(Fraction(thousandths, 1000)), total)
    assert 0 <= steps_of(f"{thousandths / 10}%", total) <= total


@given(st.integers(1, 50), st.integers(1, 50), st.integers(50, 300))
def test_what_repeats_in_steps_is_a_range(start, gap, total):
    assert repeated(f"{start} steps", gap, total, "crop") == list(range(start, total, gap))


def test_what_never_repeats_is_refused():
    with pytest.raises(InputError, match=r"crop\.every is 0%"):
        repeated(0.2, "0%", 100, "crop")


def test_new_and_old_writing_are_one_recipe():
    old = yaml.safe_load(RECIPE)
    new = yaml.safe_load(RECIPE.replace("start: 0.6, warmup: 3, end: 0.9", 'start: 60%, warmup: 3 steps, end: "90%"'))
    new["optimizers"]["bank"]["warmup"], new["train"]["validate_every"] = "10%", "7 steps"
    assert new != old
    old, new = (validate(PretrainRecipe, content, "recipe") for content in (old, new))
    assert (new.resolved(), new.hash()) == (old.resolved(), old.hash())


def test_the_whole_run_as_1_0_is_found_where_it_is_written():
    content = yaml.safe_load(RECIPE.replace("end: 0.9", "end: 1.0").replace("validate_every: 7", "validate_every: 1"))
    assert ambiguous_times(content) == ["adversary.end"]
    content["optimizers"]["bank"]["warmup"] = 1.0
    assert ambiguous_times(content) == ["adversary.end", "optimizers.bank.warmup"]
    assert not ambiguous_times(yaml.safe_load(RECIPE.replace("end: 0.9", "end: 100%")))
    assert not any(map(ambiguous, (1, "1.0", "100%", 0.99, True)))


def test_a_wrong_time_of_a_group_names_its_key():
    content = yaml.safe_load(RECIPE.replace("end: 0.9", "end: 120%"))
    with pytest.raises(InputError, match=r"'adversary' has end='120%', but end must be a time"):
        validate(PretrainRecipe, content, "recipe")


@given(st.integers(0, 1000), st.integers(1, 100_000))
def test_a_share_is_rounded_to_the_nearest_step_halves_up_and_never_to_none(thousandths, total):
    share = Fraction(thousandths, 1000)
    nearest = math.floor(share * total + Fraction(1, 2))  # exact
    assert steps_of(thousandths / 1000, total) == (max(1, nearest) if thousandths else 0)


def test_neighbours_that_halve_go_the_same_way():
    assert [steps_of(share, 10) for share in (0.05, 0.15, 0.25, 0.35, 0.45)] == [1, 2, 3, 4, 5]
    assert repeated(0.25, 0.25, 10, "crop") == [3, 5, 8]
    assert (steps_of(0.001, 10), steps_of(1.0, 10), steps_of(0.0, 10)) == (1, 10, 0)
