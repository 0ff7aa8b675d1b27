"""A pretraining as a whole: it resumes bit for bit, ranks equal one process, and it stops when it should."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from medssl import recipe as recipes
from medssl import view_dataset
from medssl.build import parts as build
from medssl.data import manifest
from medssl.engine import checkpoint, log
from medssl.engine.collapse import CollapseWatch
from medssl.pretraining import loop, overfit_check
from medssl.recipe.frame import Data
from medssl.runtime import cases, launch
from medssl.types import InputError, Interrupted

PATIENCE = 1200  # seconds after which a process hangs, however busy the machine is
TIMES = ("time", "data_wait", "memory")
RECIPE = """
seed: 5
spatial_dims: 3
data: {phantom: {cases: 9, size: [28, 24, 24]}}
views: {size: [16, 16, 16], preset: ct, corrupt: transvw}
crop: {kind: contrastive, start: 0.3, every: 0.3}
encoder: {kind: tiny, channels: [8, 16]}
decoder: {kind: unet, norm: group}
method: {kind: adco, dim: 8, hidden: 16, bank_temperature: 0.05}
restore: {weight: 10.0, start: 0.2}
adversary: {weight: 0.001, start: 0.5, base_channels: 4}
optimizers:
  main: {kind: adamw, lr: 2e-3, warmup: 0.1, clip: 1.0}
  bank: {kind: sgd, lr: 3.0, momentum: 0.9, weight_decay: 1e-4, schedule: constant}
  discriminator: {kind: adam, lr: 2e-4, betas: [0.5, 0.999], schedule: constant}
train: {steps: 40, batch: 4, checkpoint_every: 4}
"""

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["medssl.pretraining.loop", "torch.utils.tensorboard"])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def straight(recipe, tmp_path_factory):
    """The run without interruption."""
    out = tmp_path_factory.mktemp("straight")
    train(recipe, out)
    return out


def train(recipe, out, *overrides):
    loop.train(*recipes.load("pretrain", recipe, [f"out={out}", *overrides]))


def child(recipe, out, *overrides, group=False):
    """What a process of its own runs: the command line; `group` makes it the first of a process group."""
    from medssl.cli import main

    if group:
        os.setpgid(0, 0)
    multiprocessing.set_start_method("fork", force=True)  # this process came from a server, its workers shall not
    torch.set_num_threads(1)
    sys.argv = ["medssl", "pretrain", recipe, f"out={out}", *overrides]
    main()


def signalled(recipe, out, step, number, *overrides, group=False):
    """Start or resume the run, send it (or it and its workers) a signal once `step` steps are logged; its exit code."""
    process = server.Process(target=child, args=(recipe, out, "resume=true", *overrides), kwargs={"group": group})
    process.start()
    until = time.monotonic() + PATIENCE
    while len(log.read(out / "metrics.jsonl")) < step and process.is_alive() and time.monotonic() < until:
        time.sleep(0.02)
    (os.killpg if group else os.kill)(process.pid, number)
    process.join(PATIENCE)
    return process.exitcode


def records(out):
    return [{k: v for k, v in r.items() if k not in TIMES} for r in log.read(out / "metrics.jsonl")]


def last(out):
    return checkpoint.load(out / "checkpoints" / "last.pt")


def assert_same(a, b, where="checkpoint"):
    """Bit for bit, through dictionaries and lists."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


def test_all_players_come_in_and_everything_that_moves_is_in_the_checkpoint(straight):
    found = records(straight)
    first = {name: next(r["step"] for r in found if name in r) for name in found[-1] if name.startswith("loss.")}
    assert first == {  # the bank waits for 4 keys; 8, 20 and 40 steps are the stages
        "loss.discrimination": 1,
        "loss.bank": 2,
        "loss.restoration": 9,
        "loss.adversarial": 21,
        "loss.discriminator": 21,
    }
    assert [r["step"] for r in found] == list(range(1, 41))
    assert [r["step"] for r in found if "metric.box_volume" in r] == [13, 25, 37]
    content = last(straight)
    assert content["state"]["step"] == 40
    assert content["state"]["crop"]["refreshes"] == 3
    assert set(content["optimizers"]) == {"main", "bank", "discriminator"}
    assert content["data"]["samples"] == 7
    assert content["recipe"]["method"]["temperature"] == 0.12  # a default of the kind, filled in


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_steps_and_resumed_equals_straight_bit_for_bit(recipe, straight, tmp_path, workers):
    kills = sorted(np.random.default_rng(workers).choice(np.arange(1, 40), 5, replace=False))
    override = f"data.workers={workers}"
    assert [signalled(recipe, tmp_path, step, signal.SIGKILL, override) for step in kills] == [-signal.SIGKILL] * 5
    train(recipe, tmp_path, "resume=true", override)
    assert records(tmp_path) == records(straight)
    ours, theirs = last(tmp_path), last(straight)
    theirs["recipe"]["data"]["workers"] = workers
    assert_same(ours, theirs)


def test_epochs_are_steps_and_a_loss_that_ends_stays_ended_on_resume(recipe, tmp_path):
    common = ["train.steps=10", "train.checkpoint_every=2", "restore.start=0"]  # 1.75 steps are an epoch
    one, other = tmp_path / "epochs", tmp_path / "steps"
    epochs = ["method.end=3 epochs", "adversary.start=1 epochs", "adversary.end=4 epochs", "crop.start=2 epochs"]
    train(recipe, one, *common, *epochs, "optimizers.main.warmup=1.5 epochs")
    train(recipe, other, *common, "method.end=6", "adversary.start=2", "adversary.end=7", "crop.start=4",
          "optimizers.main.warmup=3")  # fmt: skip
    assert last(one)["data"]["samples"] == 7
    assert records(one) == records(other)
    assert_same(last(one)["weights"], last(other)["weights"])
    ended = {name: max(r["step"] for r in records(one) if f"loss.{name}" in r) for name in (
        "discrimination", "bank", "adversarial", "discriminator", "restoration"
    )}  # fmt: skip
    assert ended == {"discrimination": 6, "bank": 6, "adversarial": 7, "discriminator": 7, "restoration": 10}
    before, weights = records(one), last(one)["weights"]
    for step in (6, 8):
        shutil.copy(one / "checkpoints" / f"step_{step}.pt", one / "checkpoints" / "last.pt")
        train(recipe, one, *common, *epochs, "optimizers.main.warmup=1.5 epochs", "resume=true")
        assert records(one) == before
        assert_same(last(one)["weights"], weights)
    with pytest.raises(InputError, match=r"method.end is '4 epochs', was '3 epochs'"):
        train(recipe, one, *common, *epochs, "method.end=4 epochs", "optimizers.main.warmup=3", "resume=true")


def test_sigterm_writes_a_checkpoint_and_exits_with_75(recipe, tmp_path):
    assert signalled(recipe, tmp_path, 6, signal.SIGTERM, "train.checkpoint_every=40") == 75
    step = last(tmp_path)["state"]["step"]
    assert 6 <= step < 40
    assert [r["step"] for r in records(tmp_path)] == list(range(1, step + 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_data_is_made_leaves_nothing_and_asks_to_be_requeued(recipe, tmp_path, monkeypatch, number):
    monkeypatch.setattr(cases, "open_cache", lambda *_, **__: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped between steps: resume=true starts"):
        loop.pretrain(*recipes.load("pretrain", recipe, [f"out={tmp_path / 'run'}"]))
    assert not (tmp_path / "run").exists()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_process_group_lets_the_workers_live_until_the_checkpoint(recipe, straight, tmp_path, number):
    assert signalled(recipe, tmp_path, 5, number, "data.workers=2", group=True) == 75
    assert 5 <= last(tmp_path)["state"]["step"] < 40
    train(recipe, tmp_path, "resume=true", "data.workers=2")
    assert records(tmp_path) == records(straight)
    assert_same(last(tmp_path)["weights"], last(straight)["weights"])


def test_no_path_is_in_any_file_of_a_run_but_its_recipe(recipe, straight, tmp_path):
    named = tmp_path / "Doe_Jane_1960"
    shutil.copytree(straight / "data" / "cache", named / "cache")
    shutil.copytree(straight / "checkpoints", named / "run" / "checkpoints")
    given = (f"data.cache={named / 'cache'}", f"init={named / 'run'}", "train.steps=2")
    train(recipe, tmp_path / "out", *given)
    train(recipe, tmp_path / "out", *given, "resume=true")  # where data lies is not compared
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "recipe.yaml"]
    assert {"last.pt", "step_2.pt", "train.log", "metrics.jsonl", "manifest.lock"} <= {path.name for path in files}
    assert [path.name for path in files if named.name.encode() in path.read_bytes()] == []
    assert "starting from pretrain, step 40: loaded" in (tmp_path / "out" / "train.log").read_text()


def test_a_fine_tuning_is_not_resumed_as_a_pretraining(recipe, tmp_path):
    checkpoint.save(tmp_path / "checkpoints" / "last.pt", {"format": 1, "verb": "finetune", "weights": {}})
    with pytest.raises(InputError, match="holds a finetune run, which pretrain cannot continue"):
        train(recipe, tmp_path, "resume=true")


def test_resuming_with_another_init_is_refused(recipe, straight, tmp_path):
    few = ("train.steps=2", "optimizers.main.lr=1e-3")
    train(recipe, tmp_path, f"init={straight}", *few)
    assert last(tmp_path)["state"]["origin"]["init"] == "pretrain, step 40"
    with pytest.raises(InputError, match=r"started from pretrain, step 40, but init=scratch gives other weights"):
        train(recipe, tmp_path, "init=scratch", "resume=true", *few)


def test_patients_of_the_init_count_as_seen(recipe, straight, tmp_path):
    train(recipe, tmp_path, f"init={straight}", "init_parts=[encoder]", "data.train=test", "train.steps=2")
    before, now = last(straight)["data"], last(tmp_path)["data"]
    assert set(before["patients"]) < set(now["patients"])
    assert len(now["patients"]) == before["samples"] + now["samples"]  # one sample a patient, no test patient seen


def test_a_check_that_is_stopped_promises_no_resume(recipe, monkeypatch):
    monkeypatch.setattr(loop, "stop_requests", lambda *_: nullcontext(lambda: True))
    with pytest.raises(Interrupted, match="nothing was kept"):
        loop.pretrain(*recipes.load("pretrain", recipe, ["overfit_check=true"]))


def test_bf16_on_a_cpu_is_float32_and_says_so_once(recipe, said):
    """Gradients of bf16 convolutions on maps of 1 or 2 voxels a side are wrong on CPUs that have bf16."""
    _, options = recipes.load("pretrain", recipe, ["out=run", "device=cpu"])
    for precision, times in (("32", 0), ("bf16", 1)):
        made = launch.fabric(options, precision)
        assert said().count("bf16 is used on CUDA only") == times
        with made.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_a_complete_run_says_so_and_changes_nothing(recipe, straight, said):
    before = (straight / "metrics.jsonl").read_bytes()
    train(recipe, straight, "resume=true")
    assert "already complete" in said()
    assert (straight / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.steps=50", "train.steps is 50, was 40"),
        ("method.temperature=0.3", "method.temperature is 0.3, was 0.12"),
        ("data.phantom.seed=1", "data.phantom.seed is 1, was 0"),
    ],
)
def test_resuming_another_run_is_refused_and_costs_nothing(recipe, straight, override, told):
    before = (straight / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match=told):
        train(recipe, straight, "resume=true", override)
    assert (straight / "metrics.jsonl").read_bytes() == before


def test_accumulated_parts_give_the_gradient_of_the_whole_batch(recipe, tmp_path):
    plain = ("method=null", "restore.start=0", "adversary=null", "train.steps=3", "crop={kind: random}")
    only = ("optimizers={main: {kind: sgd, lr: 0.1}}",)
    for name, parts in (("one", 1), ("two", 2)):
        train(recipe, tmp_path / name, *plain, *only, f"train.accumulate={parts}")
    for name, tensor in last(tmp_path / "one")["weights"].items():
        torch.testing.assert_close(tensor, last(tmp_path / "two")["weights"][name], rtol=0, atol=1e-6)


def test_init_takes_weights_and_starts_at_step_0(recipe, straight, tmp_path, said):
    train(recipe, tmp_path, f"init={straight}", "init_parts=[encoder]", "train.steps=2", "optimizers.main.lr=1e-12")
    sentences = said()
    assert "tensors of encoder; left out: method, decoder, restore, adversary" in sentences
    assert str(straight) not in sentences
    ours, theirs = last(tmp_path), last(straight)
    assert ours["state"]["step"] == 2
    for name in (name for name in theirs["weights"] if name.startswith("encoder.")):
        torch.testing.assert_close(ours["weights"][name], theirs["weights"][name], rtol=0, atol=1e-9)


def test_init_of_another_network_is_refused(recipe, straight, tmp_path):
    with pytest.raises(InputError, match="encoder"):
        train(recipe, tmp_path, f"init={straight}", "encoder.channels=[4, 8]")


def test_a_loss_that_is_not_finite_stops_with_the_samples_named(recipe, tmp_path, monkeypatch):
    step = loop.players.step

    def poison(*arguments):
        step(*arguments)
        optimizers = arguments[0]
        if len(log.read(tmp_path / "metrics.jsonl")) == 9:
            optimizers["main"].param_groups[0]["params"][-1].data.fill_(torch.nan)

    monkeypatch.setattr(loop.players, "step", poison)
    with pytest.raises(InputError, match=r"loss.restoration is not finite at step 10 with the samples ct-"):
        train(recipe, tmp_path)
    assert last(tmp_path)["state"]["step"] == 8
    assert all(torch.isfinite(tensor).all() for tensor in last(tmp_path)["weights"].values())


def test_a_collapse_is_told_in_train_log(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(CollapseWatch, "_signs", lambda self, record: ["spread 0"])
    few = ("train.steps=10", "train.checkpoint_every=3", "train.log_every=10")
    train(recipe, tmp_path / "straight", *few)
    path = tmp_path / "straight" / "checkpoints"
    (tmp_path / "resumed" / "checkpoints").mkdir(parents=True)
    shutil.copy(path / "step_3.pt", tmp_path / "resumed" / "checkpoints" / "last.pt")
    train(recipe, tmp_path / "resumed", *few, "resume=true")
    for out in ("straight", "resumed"):  # half of so short a run must look ill, counted by steps and not by records
        said = (tmp_path / out / "train.log").read_text()
        assert said.count("have become nearly the same") == said.count("warning at step 5: the embeddings") == 1


@pytest.mark.parametrize(("start", "times"), [("2", 1), ("1.0", 1), ("1", 0)])
def test_a_run_that_makes_no_box_says_so(recipe, tmp_path, start, times):
    train(recipe, tmp_path, "train.steps=2", f"crop.start={start}", "crop.every=100")
    assert (tmp_path / "train.log").read_text().count("no crop box is ever made") == times
    assert sum("metric.box_volume" in record for record in records(tmp_path)) == 1 - times


def test_statistics_of_boxes_wait_for_the_next_record(recipe, tmp_path):
    few = ("train.steps=12", "train.log_every=3", "train.checkpoint_every=1", "crop.start=1", "crop.every=4")
    train(recipe, tmp_path / "straight", *few)
    (tmp_path / "resumed" / "checkpoints").mkdir(parents=True)  # after boxes were renewed, before the next record
    step = tmp_path / "straight" / "checkpoints" / "step_2.pt"
    shutil.copy(step, tmp_path / "resumed" / "checkpoints" / "last.pt")
    train(recipe, tmp_path / "resumed", *few, "resume=true")
    for out in ("straight", "resumed"):
        assert [r["step"] for r in records(tmp_path / out) if "metric.box_volume" in r] == [3, 6, 12], out
    assert records(tmp_path / "resumed") == records(tmp_path / "straight")


def test_small_images_are_read_once_for_all_stages(recipe, tmp_path, monkeypatch):
    reads = []
    reading = view_dataset.Reading
    monkeypatch.setattr(view_dataset, "Reading", lambda array, name: reads.append(name) or reading(array, name))
    stages = ("crop={kind: random}", "restore.start=2", "adversary.start=4", "train.steps=6", "data.workers=0")
    train(recipe, tmp_path, *stages)
    assert (tmp_path / "train.log").read_text().count("from step") >= 3
    assert len(reads) == len(set(reads)) > 0


def test_a_bank_that_was_loaded_full_plays_from_the_first_step(recipe, straight, tmp_path):
    few = ("train.steps=4", "train.batch=2", "restore.start=0", "adversary.start=0", "crop={kind: random}")
    train(recipe, tmp_path / "on", f"init={straight}", *few)
    assert all("loss.bank" in record for record in records(tmp_path / "on"))
    train(recipe, tmp_path / "encoder", f"init={straight}", "init_parts=[encoder]", *few)
    assert [r["step"] for r in records(tmp_path / "encoder") if "loss.bank" in r] == [3, 4]  # 2 steps fill 4 rows
    for at in (1, 3):  # the wait is counted from the first step also by a run that goes on
        there = tmp_path / f"resumed_{at}" / "checkpoints"
        there.mkdir(parents=True)
        once = tmp_path / f"every_{at}"
        train(recipe, once, f"init={straight}", *few, "train.checkpoint_every=1")
        shutil.copy(once / "checkpoints" / f"step_{at}.pt", there / "last.pt")
        train(recipe, there.parent, *few, "train.checkpoint_every=1", "resume=true")
        assert_same(last(there.parent)["weights"], last(once)["weights"])


def test_a_bank_that_would_play_after_the_run_is_refused_before_data_is_read(recipe, straight, tmp_path):
    few = ("train.steps=2", "train.batch=2", "crop={kind: random}")
    with pytest.raises(InputError, match=r"the bank would start at step 2, .* the run ends after 2 step"):
        train(recipe, tmp_path / "a", *few)
    assert not (tmp_path / "a").exists()
    train(recipe, tmp_path / "b", f"init={straight}", *few)  # its bank is full
    with pytest.raises(InputError, match="the bank would start at step 2"):
        train(recipe, tmp_path / "c", f"init={straight}", "init_parts=[encoder]", *few)


def test_check_says_what_learns_by_heart(recipe, tmp_path, monkeypatch, said):
    monkeypatch.setattr(overfit_check, "STEPS", 60)
    arguments = ("method=null", "adversary=null", "restore.start=0", "crop={kind: random}", "overfit_check=true")
    rate = "optimizers={main: {kind: adamw, lr: %s}}"
    loop.pretrain(*recipes.load("pretrain", recipe, [*arguments, rate % "5e-3"]))
    assert "restoration: learns" in said()
    with pytest.raises(InputError, match="cannot even fit"):
        loop.pretrain(*recipes.load("pretrain", recipe, [*arguments, rate % "1e-9"]))
    assert "restoration: does NOT learn" in said()


LEARNERS = {
    "adco": "{kind: adco, dim: 16, hidden: 32, head_norm: batch, temperature: 0.2}",
    "moco_v2": "{kind: moco_v2, dim: 16, hidden: 32, head_norm: batch}",
    "simsiam": "{kind: simsiam, dim: 32, hidden: 32, bottleneck: 16}",
    "barlow_twins": "{kind: barlow_twins, dim: 32, hidden: 32}",
}


@pytest.mark.parametrize("base", LEARNERS)
def test_check_says_of_every_base_whether_views_find_each_other(base, recipe, said):
    bank = ", bank: {kind: sgd, lr: 0.3}" if base == "adco" else ""
    arguments = ("restore=null", "adversary=null", f"method={LEARNERS[base]}", "overfit_check=true")
    rate = f"optimizers={{main: {{kind: adamw, lr: %s}}{bank}}}"
    loop.pretrain(*recipes.load("pretrain", recipe, [*arguments, rate % "2e-3"]))
    assert "discrimination: learns" in said()
    with pytest.raises(InputError, match="cannot even fit"):
        loop.pretrain(*recipes.load("pretrain", recipe, [*arguments, rate % "1e-9"]))
    assert "discrimination: does NOT learn" in said()


def test_check_lets_every_loss_play_at_once_and_holds_the_bank_still(recipe):
    small = overfit_check.shortened(
        recipes.load("pretrain", recipe, ["method.warmup=0.5", "optimizers.main.warmup=30"])[0]
    )
    assert [group["start"] for group in (small.method, small.restore, small.adversary)] == [0, 0, 0]
    assert small.method["warmup"] == 0
    assert small.method["momentum"] == 0.9
    assert small.method["symmetric"]  # else view 1 would never be asked
    assert small.optimizers["bank"].lr < 1e-6
    assert small.optimizers["main"].warmup == 10


def test_check_brings_the_times_of_the_crop_into_its_short_run(recipe):
    for given, meant in ((("crop.start=30", "crop.every=8"), (0.75, 0.2)), (("crop.every=99",), (0.3, 1.0))):
        small = overfit_check.shortened(recipes.load("pretrain", recipe, given)[0])
        assert (small.crop["start"], small.crop["every"]) == meant
        build.validate(small)


def test_check_refuses_what_the_run_would(recipe):
    with pytest.raises(InputError, match=r"restore.start=99 is step 99, but the run has 40"):
        loop.pretrain(*recipes.load("pretrain", recipe, ["overfit_check=true", "restore.start=99"]))


TWO = ("devices=2", "strategy=ddp", "device=cpu")


def beside(command, work):
    """Do `work` while `command` runs in a process of its own, which must succeed."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
        work()
        _, errors = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, errors


BASES = {
    "adco": {},
    "moco_v2": {"method": "{kind: moco_v2, dim: 8, hidden: 16}"},
    "simsiam": {"method": "{kind: simsiam, dim: 8, hidden: 16}"},
    "barlow_twins": {"method": "{kind: barlow_twins, dim: 8, hidden: 16}"},
}
# At published rates the games amplify rounding, and Adam makes a full step of an element whose gradient is rounding
# alone; docs/methods/ranks.md has the figures. In float64 nothing of this is left.
GENTLE = {
    "main": "{kind: sgd, lr: 5e-3, clip: 1.0}",
    "bank": "{kind: sgd, lr: 1e-2}",
    "discriminator": "{kind: sgd, lr: 1e-3}",
}
SHARP = {
    "main": "{kind: adamw, lr: 2e-3, warmup: 0.1, clip: 1.0}",
    "bank": "{kind: sgd, lr: 3.0, momentum: 0.9, weight_decay: 1e-4, schedule: constant}",
    "discriminator": "{kind: adam, lr: 2e-4, betas: [0.5, 0.999], schedule: constant}",
}


def assert_close(a, b, tolerance):
    ones, twos = last(a), last(b)
    for name, tensor in ones["weights"].items():
        torch.testing.assert_close(
            tensor, twos["weights"][name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )
    torch.testing.assert_close(ones["state"]["crop"], twos["state"]["crop"], rtol=0, atol=tolerance)
    for one, both in zip(records(a), records(b), strict=True):
        names = set(one) - set(TIMES)
        for name in names:
            assert one[name] == pytest.approx(both[name], rel=tolerance, abs=tolerance), (one["step"], name)


@pytest.mark.parametrize(
    ("rates", "steps", "precision", "tolerance"), [(SHARP, 12, 64, 1e-10), (GENTLE, 6, 32, 1e-5)], ids=["64", "32"]
)
@pytest.mark.parametrize("base", BASES)
def test_two_ranks_equal_one_process(recipe, tmp_path, base, rates, steps, precision, tolerance):
    there = ["main", "discriminator", *(["bank"] if base == "adco" else [])]
    optimizers = "{" + ", ".join(f"{name}: {rates[name]}" for name in there) + "}"
    method = [f"{key}={value}" for key, value in BASES[base].items()]
    rest = [f"train.steps={steps}", f"train.precision={precision}", f"optimizers={optimizers}", *method]
    rest += ["train.batch=8", "data.phantom.cases=16", "crop.start=0", "pictures=false"]
    command = [sys.executable, "-m", "medssl.cli", "pretrain", recipe, f"out={tmp_path / 'two'}", *rest, *TWO]
    beside(command, lambda: train(recipe, tmp_path / "one", *rest))
    assert_close(tmp_path / "one", tmp_path / "two", tolerance)


PARTED = """
import sys
import torch
from medssl import cli, ranks
from medssl.methods.adco import AdCo
after_step = AdCo.after_step
def disturbed(self, encoder):
    after_step(self, encoder)
    self.steps = getattr(self, "steps", 0) + 1
    if self.steps == 4 and ranks.rank() == 1:
        self.bank.data[0, 0] = torch.nextafter(self.bank.data[0, 0], torch.tensor(9.0))
AdCo.after_step = disturbed
sys.exit(cli.main())
"""


def test_ranks_that_have_parted_are_found_at_the_next_checkpoint(recipe, tmp_path):
    """One rank's bank is disturbed by a bit after the first checkpoint: the run stops, the checkpoint stays."""
    (tmp_path / "parted.py").write_text(PARTED)
    out, rest = tmp_path / "two", ("train.steps=4", "train.checkpoint_every=2", "crop={kind: random}", *TWO)
    ended = subprocess.run(
        [sys.executable, tmp_path / "parted.py", "pretrain", recipe, f"out={out}", *rest],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "method.bank differ between ranks after step 4" in ended.stderr
    assert last(out)["state"]["step"] == 2


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("method.negatives=8",), "method.negatives is 8 but 7 samples fill 7 at most"),
        (("resume=true", *TWO), "the number of devices is 2, was 1"),
        (("resume=true", "train.steps=50"), "train.steps is 50, was 40"),
    ],
)
def test_what_cannot_work_is_refused_before_data_is_read(recipe, straight, monkeypatch, overrides, told):
    monkeypatch.setattr(cases, "provide", lambda *_: pytest.fail("data is made"))
    monkeypatch.setattr(cases, "open_cache", lambda *_, **__: pytest.fail("data is opened"))
    with pytest.raises(InputError, match=told):
        train(recipe, straight, *overrides)


def test_how_many_cases_a_run_will_have_is_told_from_the_manifest(tmp_path):
    names = ["train", "train", "val", "test", "test", "test"]
    rows = [manifest.Row(id=f"ct-{i}", image=f"{i}.nii", split=name) for i, name in enumerate(names)]
    path = tmp_path / "manifest.csv"
    manifest.write(path, rows, tmp_path, {row.id: {"files": [row.image]} for row in rows})
    of = {"manifest": str(path)}
    assert cases.expected(Data(**of), tmp_path) == 3
    assert cases.expected(Data(**of, train="train"), tmp_path) == 2
    assert cases.expected(Data(**of, train="none"), tmp_path) is None
    assert cases.expected(Data(**of, splits="s.json", train="train"), tmp_path) == 6
