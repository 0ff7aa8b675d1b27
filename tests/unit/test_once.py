"""A recipe is worked out once on its way to the first step: validated and resolved once, its networks made once."""

from __future__ import annotations

import inspect
import sys
from collections import Counter

import pytest
import torch
from finetuning import SEGMENT, options, recipe

from medssl.build import finetune_setup, kinds, parts
from medssl.data.phantom.cases import phantom_cache
from medssl.finetuning.loop import tune
from medssl.pretraining import loop
from medssl.recipe import load


@pytest.fixture
def entries(monkeypatch):
    """Counts calls of public functions of `build` from outside of it; and networks made, with weights and without."""
    counted = Counter()

    def count(module, name, function):
        def entered(*arguments, **keywords):
            if not sys._getframe(1).f_globals["__name__"].startswith("medssl.build"):
                counted[name] += 1
            return function(*arguments, **keywords)

        monkeypatch.setattr(module, name, entered)

    def made(group, *rest):
        found = make(group, *rest)
        if isinstance(found, torch.nn.Module):
            weights = any(parameter.device.type != "meta" for parameter in found.parameters())
            counted[f"{group}, {'with' if weights else 'without'} weights"] += 1
        return found

    make = kinds.make
    for module in (parts, finetune_setup):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                count(module, name, function)
    monkeypatch.setattr(parts, "make", made)
    return counted


PRETRAIN = ["train.steps=2", "train.batch=4", "views.size=[16,24,16]", "method.negatives=2"]
PRETRAIN += ["restore.start=0", "adversary=null", "optimizers.discriminator=null"]
MADE = {"encoder, without weights": 1, "encoder, with weights": 1}
MADE |= {"decoder, without weights": 1, "decoder, with weights": 1}


def first_step(name, overrides, tmp_path):
    made, run_options = load("pretrain", name, [*PRETRAIN, *overrides, f"out={tmp_path / 'run'}", "device=cpu"])
    assert loop.train(made, run_options).step == 2


def test_a_pretraining_is_validated_and_made_once(entries, tmp_path):
    first_step("phantom_tiny", ["data.phantom={cases: 8, size: [20,28,24]}"], tmp_path)
    methods = {"method, without weights": 1, "method, with weights": 1}
    assert entries == {"validate": 1, "pretext": 1, **MADE, **methods}


def test_a_fine_tuning_is_checked_and_made_once(entries, tmp_path):
    phantom_cache(tmp_path / "cache", 4, (16, 16, 16), 0, "ct")
    made = recipe(SEGMENT, data={"cache": str(tmp_path / "cache")}, train={"steps": 1, "validate_every": 1})
    tune(made, options(tmp_path / "run"))
    assert entries == {"check": 1, "task": 1, "network": 1, "phases": 1, "optimizers": 1, **MADE}
