"""Which run a checkpoint continues: the same recipe, data and ranks, wherever the data lies."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from medssl.run import state
from medssl.types import InputError

RECIPE = {"seed": 0, "data": {"cache": "/here", "workers": 0}, "train": {"steps": 10}}


def run(**changed):
    parts = {"resolved": RECIPE, "ids": ["a", "b"], "cache": SimpleNamespace(hash="0f")}
    return SimpleNamespace(**{**parts, **changed})


CONTENT = {
    "recipe": RECIPE,
    "state": {"ranks": [{}]},
    "data": {"cache": "0f", "ids": state._digest(["a", "b"]), "samples": 2},
}


def test_the_same_run_goes_on_wherever_its_data_lies():
    state.check_same(run(), CONTENT)
    state.check_same(run(resolved={**RECIPE, "data": {"cache": "/there", "workers": 4}}), CONTENT)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"resolved": {**RECIPE, "train": {"steps": 20}}}, "train.steps is 20, was 10"),
        ({"resolved": {**RECIPE, "seed": 1}}, "seed is 1, was 0"),
        ({"cache": SimpleNamespace(hash="1f")}, "the cache holds other data than it did"),
        ({"ids": ["a", "b", "c"]}, "the training subset has 3 samples, had 2"),
        ({"ids": ["b", "a"]}, "the training subset has 2 samples, had 2 or others"),
    ],
)
def test_another_recipe_or_other_data_is_refused(changed, told):
    with pytest.raises(InputError, match=told):
        state.check_same(run(**changed), CONTENT)


def test_another_number_of_ranks_is_refused(monkeypatch):
    monkeypatch.setattr(state.ranks, "world", lambda: 2)
    with pytest.raises(InputError, match=r"the number of devices is 2, was 1: undo that, or start a new run"):
        state.check_same(run(), CONTENT)
