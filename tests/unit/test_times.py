"""Times in epochs become whole steps once the number of samples is known; every other way to write a time stays."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medssl.recipe import FinetuneRecipe, PretrainRecipe, in_steps, validate
from medssl.recipe.times import epochs
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


@pytest.mark.parametrize("text", ["epochs", "-1 epochs", "1e2 epochs", "10 epoch s", "10", "", ". epochs", "10 steps"])
def test_other_text_is_no_time(text):
    assert epochs(text) is None
    with pytest.raises(InputError, match=r"'train.checkpoint_every' must be a time.*'10 epochs'.*was given"):
        recipe(checkpoint_every=text)
