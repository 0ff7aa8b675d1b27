"""Which parts of a network learn when, and how fast: each schedule against its hand case, and in a run."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from finetuning import CLASSIFY, SEGMENT, options, recipe

from medssl.build import finetune_setup, kinds
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint, log, phases
from medssl.engine.schedule import OptimizerSpec, learning_rate, optimizer
from medssl.finetuning import loop
from medssl.finetuning.loop import tune
from medssl.models import levels
from medssl.models.encoder import resenc, resnet, tiny
from medssl.recipe import Optimizer, load
from medssl.types import InputError, Interrupted

GROUPS = ["encoder.0", "encoder.1", "decoder", "head"]
KINDS = {
    "frozen": {},
    "head alone": {"kind": "frozen", "parts": ["encoder", "decoder"]},
    "warmup": {"warmup": 3},
    "layerwise": {"decay": 0.5},
    "sawtooth": {"alone": 3, "warmup": 2},
}
BATCH = {"kind": "tiny", "channels": [4, 8], "norm": "batch"}
TIMES = ("time", "data_wait", "memory")


def spec(**keys):
    return OptimizerSpec(**dict(Optimizer(**{"kind": "sgd", "lr": 1e-3, "schedule": "poly", **keys})))


def course(kind, steps, optimizer_warmup=0, groups=GROUPS, **settings):
    supplied = {"groups": groups, "steps": steps, "optimizer_warmup": optimizer_warmup}
    return kinds.make("tuning", {"kind": kind, **settings}, supplied)


def rates(course, step, **keys):
    """The rate of each of GROUPS."""
    own = phases.merged({name: name for name in GROUPS}, course)
    found = zip(own, phases.rates(spec(**keys), course, own, step), strict=True)
    return {name: rate for group, rate in found for name in group.parameters}


POLY = {0: 6.667e-5, 7: 5.333e-4, 14: 1e-3, 15: 1e-3, 82: 5.3946e-4, 149: 1.2098e-5}  # localization.md, section 6


@pytest.mark.parametrize(("epoch", "rate"), POLY.items())
def test_poly_is_that_of_nnunet(epoch, rate):
    assert learning_rate(spec(warmup=15), epoch, 150) == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize(("epoch", "rate"), POLY.items())
def test_warmup_is_a_rise_of_everything_and_then_the_schedule(epoch, rate):
    found = rates(course("warmup", 150, warmup=15), epoch, warmup=99)
    assert found == pytest.approx(dict.fromkeys(GROUPS, rate), rel=1e-4)


def test_full_is_the_rate_of_the_optimizer():
    made = course("full", 150, 15)
    for step in (0, 14, 15, 82, 149):
        assert set(rates(made, step, warmup=15).values()) == {learning_rate(spec(warmup=15), step, 150)}


def test_frozen_holds_its_parts_still():
    alone = rates(course("frozen", 150, 15), 82)
    assert alone == pytest.approx({"encoder.0": 0, "encoder.1": 0, "decoder": 5.3946e-4, "head": 5.3946e-4}, rel=1e-4)
    head = rates(course("frozen", 150, 15, parts=["encoder", "decoder"]), 82)
    assert head == pytest.approx({"encoder.0": 0, "encoder.1": 0, "decoder": 0, "head": 5.3946e-4}, rel=1e-4)


def test_layerwise_decays_from_the_head_to_the_image():
    found = rates(course("layerwise", 150, 15, decay=0.5), 14)
    assert found == pytest.approx({"encoder.0": 2.5e-4, "encoder.1": 5e-4, "decoder": 1e-3, "head": 1e-3})


def test_sawtooth_is_two_teeth():
    """Of 300 steps: 15 up and 15 down without the encoder, then 30 up and 240 down with it (nnssl: 150 epochs)."""
    made = course("sawtooth", 300)
    assert [phases.begins(made, step) for step in (0, 29, 30, 31)] == [False, False, True, False]
    by_step = [rates(made, step) for step in range(300)]
    assert {found["encoder.0"] for found in by_step[:30]} == {0.0}
    assert [by_step[step]["decoder"] for step in (0, 14, 15)] == pytest.approx([1e-3 / 15, 1e-3, 1e-3])
    assert by_step[29]["decoder"] == pytest.approx(1e-3 * (1 / 15) ** 0.9)
    assert [by_step[step]["encoder.0"] for step in (30, 59, 60)] == pytest.approx([1e-3 / 30, 1e-3, 1e-3])
    assert by_step[180]["encoder.0"] == pytest.approx(1e-3 * 0.5**0.9)
    assert all(found["encoder.0"] == found["head"] for found in by_step[30:])


def test_parameters_that_always_learn_alike_are_one_group():
    of = {"encoder.a": "encoder.0", "encoder.b": "encoder.1", "decoder.c": "decoder", "head.d": "head"}
    for kind, names in (
        ("full", ["encoder"]),
        ("frozen", ["encoder", "decoder"]),
        ("sawtooth", ["encoder", "decoder"]),
    ):
        assert [group.name for group in phases.merged(of, course(kind, 30))] == names
    by_level = phases.merged(of, course("layerwise", 30))
    assert [group.name for group in by_level] == ["encoder.0", "encoder.1", "decoder"]
    assert by_level[-1].parameters == ["decoder.c", "head.d"]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("frozen", {"parts": ["stem"]}, "tuning.parts names stem, but the parts of this network are encoder, decoder"),
        ("frozen", {"parts": ["encoder", "decoder", "head"]}, "leave out one to train"),
        ("layerwise", {"decay": 0.0}, "give a number above 0, at most 1"),
        ("warmup", {"warmup": 31}, "longer than the run of 30 steps"),
        ("sawtooth", {"alone": 29, "warmup": 2}, "too long for"),
        ("sawtooth", {"decay": 0.5}, "decay"),
        ("slow", {}, "tuning.kind=slow does not exist .there are: frozen, full, layerwise, sawtooth, warmup"),
    ],
)
def test_what_cannot_be_is_refused(kind, settings, message):
    with pytest.raises(InputError, match=message):
        course(kind, 30, **settings)


@pytest.mark.parametrize(
    ("encoder", "level_of"),
    [
        (tiny.build(spatial_dims=2, in_channels=1), lambda name: int(name.split(".")[1])),
        (
            resnet.build(spatial_dims=2, in_channels=1, depth=18),
            lambda name: int(name[5]) if name.startswith("layer") else 0,
        ),
        (
            resenc.build(spatial_dims=2, in_channels=1),
            lambda name: int(name.split(".")[1]) if name.startswith("stages") else 0,
        ),
    ],
)
def test_the_level_of_a_parameter_is_told_from_what_depends_on_it(encoder, level_of):
    found = levels.of_parameters(encoder.to("meta"), torch.empty(1, 1, 128, 128, device="meta"))
    assert found == {name: level_of(name) for name, _ in encoder.named_parameters()}


def test_nesterov_is_torchs_and_needs_momentum():
    weight, rate = torch.nn.Parameter(torch.tensor([1.0])), 0.1
    made, velocity, value = optimizer(spec(lr=rate, momentum=0.9, nesterov=True), [weight]), 0.0, 1.0
    for gradient in (1.0, -0.5, 2.0):
        weight.grad = torch.tensor([gradient])
        made.step()
        velocity = 0.9 * velocity + gradient
        value -= rate * (gradient + 0.9 * velocity)
        assert weight.item() == pytest.approx(value, rel=1e-5)
    for changes in (["optimizers.main.nesterov=true"], ["optimizers.main={kind: sgd, lr: 1, nesterov: true}"]):
        with pytest.raises(InputError, match=r"'optimizers.main' has nesterov=true"):
            load("finetune", "segment_tiny_3d", changes)


def test_new_keys_left_alone_change_no_hash():
    plain = load("finetune", "segment_tiny_3d", [])[0].hash()
    for same in (["tuning=null"], ["tuning=full"], ["optimizers.main.nesterov=false"]):
        assert load("finetune", "segment_tiny_3d", same)[0].hash() == plain
    frozen = load("finetune", "segment_tiny_3d", ["tuning=frozen"])[0].hash()
    assert frozen == load("finetune", "segment_tiny_3d", ["tuning.kind=frozen"])[0].hash() != plain


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    phantom_cache(folder / "cache", 6, (24, 24, 24), 0, "ct")
    return folder / "cache"


def made(cache, name, **changes):
    settings = {"kind": name, **KINDS[name]} if name in KINDS else name
    changes = {"train": {"steps": 6, "validate_every": 2, "checkpoint_every": 1}, **changes}
    return recipe(SEGMENT, data={"cache": str(cache)}, encoder=BATCH, tuning=settings, **changes)


def weights_after(cache, out, name, steps, monkeypatch, **changes):
    """The weights of a run that is asked to stop after each step, by step: 0 are those it started from."""
    real, start = loop._step, []

    def step(run, *rest, **keys):
        start.extend([] if start else [{key: value.clone() for key, value in run.model.state_dict().items()}])
        return real(run, *rest, **{**keys, "asked": True})

    monkeypatch.setattr(loop, "_step", step)
    for number in range(steps):
        try:
            tune(made(cache, name, **changes), options(out, resume=number > 0))
        except Interrupted:
            pass
        start.append(checkpoint.load(out / "checkpoints" / "last.pt")["weights"])
    monkeypatch.setattr(loop, "_step", real)
    return start


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("name", KINDS)
def test_each_schedule_goes_on_exactly_wherever_it_was_stopped(cache, tmp_path, name, monkeypatch):
    stopped = weights_after(cache, tmp_path / "stopped", name, 6, monkeypatch)
    straight = tune(made(cache, name), options(tmp_path / "straight"))
    ours = checkpoint.load(tmp_path / "straight" / "checkpoints" / "last.pt")
    assert moved(ours["weights"], stopped[-1]) == set()
    states = [
        checkpoint.load(tmp_path / run / "checkpoints" / "last.pt")["optimizers"]["main"]
        for run in ("straight", "stopped")
    ]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    lines = [
        [{key: v for key, v in line.items() if key not in TIMES} for line in log.read(tmp_path / run / "metrics.jsonl")]
        for run in ("straight", "stopped")
    ]
    assert lines[0] == lines[1]
    assert straight["steps"] == len(lines[0]) == 6
    for before, after in pairwise(stopped[:4]):
        parts = {key.split(".")[0] for key in moved(before, after)}
        resting = {"sawtooth": {"encoder"}, "frozen": {"encoder"}, "head alone": {"encoder", "decoder"}}.get(
            name, set()
        )
        assert parts == {"encoder", "decoder", "head"} - resting, "batch-norm statistics rest as well"
    last = {key.split(".")[0] for key in moved(stopped[3], stopped[6])}
    assert ("encoder" in last) == (name not in ("frozen", "head alone"))


def test_a_level_moves_by_its_share(cache, tmp_path, monkeypatch):
    """One step of plain SGD: what layer-wise decay moves is the decayed share of what full fine-tuning moves."""
    sgd = {"main": {"kind": "sgd", "lr": 0.5, "schedule": "constant"}}
    full, decayed = (
        weights_after(cache, tmp_path / name, name, 1, monkeypatch, optimizers=sgd) for name in ("full", "layerwise")
    )
    assert moved(full[0], decayed[0]) == set()
    for key in moved(full[0], full[1]):
        if "running" not in key and "num_batches" not in key:
            share = {"encoder.levels.0": 0.25, "encoder.levels.1": 0.5}.get(key[:16], 1.0)
            expected = full[0][key] + share * (full[1][key] - full[0][key])
            torch.testing.assert_close(decayed[1][key], expected, rtol=1e-5, atol=1e-6)


def test_a_frozen_encoder_needs_no_batch_for_its_norms(cache):
    one = {"train": {"steps": 6, "batch": 1}}
    with pytest.raises(InputError, match="a batch of 1 per device has no batch statistics"):
        finetune_setup.check(made(cache, "full", **one))
    finetune_setup.check(made(cache, "frozen", **one))


def test_the_head_may_see_all_levels(tmp_path):
    phantom_cache(tmp_path / "cache", 6, (24, 24), 0, "xray")
    found = {}
    for levels_seen in ("deepest", "all"):
        asked = recipe(CLASSIFY, data={"cache": str(tmp_path / "cache")}, task={"levels": levels_seen})
        results = tune(asked, options(tmp_path / levels_seen))
        found[levels_seen] = checkpoint.load(tmp_path / levels_seen / "checkpoints" / "last.pt")["weights"]
        assert results["settings"]["levels"] == levels_seen
    assert found["deepest"]["head.linear.weight"].shape == (2, 8)
    assert found["all"]["head.linear.weight"].shape == (2, 12)
    assert recipe(CLASSIFY).hash() == recipe(CLASSIFY, task={"levels": "deepest"}).hash()
