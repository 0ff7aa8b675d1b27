"""Which run a checkpoint continues: the same recipe, data and ranks, wherever the data lies."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from medssl.recipe.paths import portable
from medssl.runtime import resume
from medssl.types import InputError

RECIPE = {"seed": 0, "data": {"cache": "/here", "workers": 0}, "train": {"steps": 10}}


def about(ids=("a", "b"), digest="0f"):
    cases = {name: SimpleNamespace(patient=f"patient of {name}", fingerprint="") for name in "abc"}
    return resume.data(SimpleNamespace(hash=digest, cases=cases, fingerprint_key="key"), {"train": list(ids)})


CONTENT = {"recipe": RECIPE, "state": {"ranks": [{}]}, "data": about()}


def test_the_same_run_goes_on_wherever_its_data_lies():
    resume.check_recipe(CONTENT, RECIPE, 1)
    resume.check_recipe(CONTENT, {**RECIPE, "data": {"cache": "/there", "workers": 4}}, 1)
    resume.check_data(CONTENT, about())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"train": {"steps": 20}}, "train.steps is 20, was 10"),
        ({"seed": 1}, "seed is 1, was 0"),
    ],
)
def test_another_recipe_is_refused(changed, told):
    with pytest.raises(InputError, match=told):
        resume.check_recipe(CONTENT, {**RECIPE, **changed}, 1)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (about(digest="1f"), "the data in the cache has changed"),
        (about(ids="abc"), r"have changed \(3 training cases, 2 before\)"),
        (about(ids="ba"), r"have changed \(2 training cases, 2 before\)"),
    ],
)
def test_other_data_is_refused(data, told):
    with pytest.raises(InputError, match=told):
        resume.check_data(CONTENT, data)


def test_another_number_of_ranks_is_refused():
    with pytest.raises(InputError, match=r"the number of devices is 2, was 1: undo that, or start a new run"):
        resume.check_recipe(CONTENT, RECIPE, 2)


def test_a_checkpoint_names_no_path():
    kept = portable({**RECIPE, "data": {"cache": "/here", "manifest": "/m", "splits": "/s", "workers": 3}})
    assert kept["data"] == {"cache": None, "manifest": None, "splits": None, "key": None, "workers": 3}
