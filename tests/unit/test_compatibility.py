"""What cannot run is refused alike by dry_run=true, by the run and by a benchmark, before any data is looked at."""

from __future__ import annotations

import pytest
import torch
from finetuning import CLASSIFY, SEGMENT, options, recipe

from medssl.benchmarking.loop import benchmark
from medssl.build import compatibility, finetune_setup, parts
from medssl.finetuning.loop import finetune, tune
from medssl.recipe import BenchmarkRecipe, load, validate
from medssl.types import InputError

LIAR = """
from medssl.models.encoder import tiny

def build(*, spatial_dims, in_channels):
    net = tiny.build(spatial_dims=spatial_dims, in_channels=in_channels, channels=[4, 8])
    net.channels = (4, 16)
    return net
"""
ADAM = {"kind": "adamw", "lr": 0.01}
CANNOT = [
    (SEGMENT, {"decoder": None}, "task segment needs a decoder"),
    (SEGMENT, {"optimizers": {"main": {"kind": "adamw", "lr": 0.01, "warmup": 7}}}, "warmup=7 is longer than the run"),
    (SEGMENT, {"optimizers": {"side": {"kind": "adamw", "lr": 0.01}}}, r"optimizers.side has no player"),
    (SEGMENT, {"optimizers": {"main": None}}, "no entry for the player 'main'"),
    (
        SEGMENT,
        {"encoder": {"norm": "instance", "channels": [4] * 5}},
        r"augment.size \[16, 16, 16\] is a single voxel at the encoder's deepest level",
    ),
    (SEGMENT, {"augment": {"size": [16, 16, 15]}}, r"augment.size \[16, 16, 15\] is not divisible"),
    (SEGMENT, {"encoder": {"norm": "batch"}, "train": {"batch": 1}}, "batch of 1 .* or set encoder.norm=group"),
    (SEGMENT, {"decoder": {"norm": "batch"}, "train": {"accumulate": 2}}, "batch of 1 .* or set decoder.norm=group"),
    (SEGMENT, {"train": {"batch": 3, "accumulate": 2}}, "train.batch=3 cannot be divided.*use train.batch=4"),
    (SEGMENT, {"encoder": {"channels": [4, 0]}}, r"encoder.channels is \[4, 0\]"),
    (SEGMENT, {"decoder": {"norm": "none"}}, "'norm' in decoder"),
    (SEGMENT, {"task": {"classes": 1}}, "needs a class besides the background"),
    (SEGMENT, {"task": {"classes": []}}, "needs a class besides the background"),
    (SEGMENT, {"encoder": {"kind": "outside_liar.liar"}}, "cannot be built"),
    (SEGMENT, {"task": {"overlap": 1.0}}, "task.overlap=1.0, by which sliding windows overlap, must be"),
    (SEGMENT, {"task": {"smooth": -1.0}}, "task.smooth=-1.0 must not be negative"),
    (CLASSIFY, {"task": {"classes": ["one"]}}, "needs two classes or more"),
    (CLASSIFY, {"task": {"classes": ["one", "two"], "positive": "three"}}, "is not one of the classes one, two"),
    (CLASSIFY, {"encoder": {"norm": "batch"}, "train": {"batch": 1}}, "a batch of 1 per device"),
]


def made_of(text, changes, folder):
    """The recipe with its changes, on a cache that does not exist; of the encoder from outside, only its kind."""
    whole = "encoder" in changes and "kind" in changes["encoder"]
    made = recipe(text, **{**changes, "data": {"cache": str(folder / "nowhere")}})
    return made.model_copy(update={"encoder": changes["encoder"]}) if whole else made


@pytest.fixture
def outside(tmp_path, monkeypatch):
    (tmp_path / "outside_liar").mkdir()
    (tmp_path / "outside_liar" / "liar.py").write_text(LIAR)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(("text", "changes", "told"), CANNOT)
def test_a_fine_tuning_that_cannot_run_is_refused_before_its_data(text, changes, told, tmp_path):
    """The cache does not even exist: it is not what is spoken of."""
    made = made_of(text, changes, tmp_path)
    with pytest.raises(InputError, match=told):
        finetune(made, options(tmp_path / "run", dry_run=True))
    with pytest.raises(InputError, match=told):
        tune(made, options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_what_can_run_is_said_to():
    for text in (SEGMENT, CLASSIFY):
        made = finetune_setup.check(recipe(text))
        assert {parameter.device.type for parameter in made.network.parameters()} == {"meta"}
    finetune_setup.check(recipe(SEGMENT, encoder={"norm": "sync_batch"}, train={"batch": 2, "accumulate": 1}), world=2)


def test_a_classifier_whose_classes_are_in_the_data_fits_with_its_positive_one():
    finetune_setup.check(recipe(CLASSIFY, task={"positive": "opacity"}))
    finetune_setup.check(recipe(CLASSIFY, task={"multilabel": True}))


def test_devices_count():
    made = recipe(SEGMENT, encoder={"norm": "batch"})
    with pytest.raises(InputError, match="a batch of 1 per device"):
        finetune_setup.check(made, world=2)
    with pytest.raises(InputError, match="cannot be divided over 4 device"):
        finetune_setup.check(made, world=4)


def test_a_network_that_was_trained_predicts_whatever_its_training_was():
    """Warm-up and batch are no business of `predict`."""
    done = recipe(SEGMENT, train={"batch": 3, "accumulate": 2}, optimizers={"main": {**ADAM, "warmup": 99}})
    assert finetune_setup.plan(done).augment.size == (16, 16, 16)


@pytest.mark.parametrize("when", [{"dry_run": True}, {}])
def test_a_benchmark_refuses_the_cell_that_cannot_run(when, tmp_path):
    inits = {"scratch": "scratch", "slow": {"init": "scratch", "overrides": {"optimizers": {"main": {"warmup": 999}}}}}
    grid = {"inits": inits, "tasks": {"seg": {"recipe": "phantom_tiny"}}, "fractions": [1.0], "seeds": [0]}
    with pytest.raises(InputError, match=r"optimizers.main.warmup=999 is longer than the run of 300"):
        benchmark(validate(BenchmarkRecipe, grid, "recipe"), options(tmp_path / "run", **when))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("outside")
def test_a_pretraining_is_tried_through_its_parts():
    made, _ = load("pretrain", "phantom_tiny", [])
    parts.validate(made)
    with pytest.raises(InputError, match="cannot be built"):
        parts.validate(made.model_copy(update={"encoder": {"kind": "outside_liar.liar"}}))


def test_the_random_stream_is_left_alone():
    before = torch.get_rng_state()
    finetune_setup.check(recipe(SEGMENT))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_goes_on_as_it_was():
    """It is tried in eval mode, and stays in the mode that it came in."""
    for mode in (True, False):
        with compatibility.without_weights():
            net = torch.nn.Conv2d(1, 1, 3).train(mode)
            compatibility.forward(net, 1, (4, 4))
        assert net.training is mode
