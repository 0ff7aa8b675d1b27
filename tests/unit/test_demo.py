"""`medssl demo`: the commands it echoes are the grammar's, and its short form runs to a report."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from medssl.recipe import load
from medssl.verbs import demo


def words_of(verb: str, short: bool = False) -> list[list[str]]:
    return [words for words in demo.commands(Path("demo"), short=short) if words[0] == verb]


def test_the_chain_is_that_of_a_user():
    verbs = [words[0] for words in demo.commands(Path("demo"), short=False)]
    assert verbs == ["scan", "prepare", "preview", "pretrain", "finetune", "finetune", "report"]


def test_its_recipes_reach_all_three_stages_and_differ_in_init_alone():
    (pretrain,) = words_of("pretrain")
    recipe, options = load("pretrain", pretrain[1], pretrain[2:])
    assert (recipe.spatial_dims, recipe.method["kind"], recipe.crop["kind"]) == (3, "adco", "contrastive")
    assert 0 < recipe.restore["start"] < recipe.adversary["start"] < 1
    (one, start), (other, scratch) = (load("finetune", words[1], words[2:]) for words in words_of("finetune"))
    assert one == other
    assert (start.init, scratch.init) == (options.out, "scratch")
    assert {start.out, scratch.out} <= set(words_of("report")[0])


def test_the_short_form_differs_in_steps_alone():
    for long, short in zip(*(demo.commands(Path("d"), short=short) for short in (False, True)), strict=True):
        assert [word for word in long if "steps" not in word] == [word for word in short if "steps" not in word]


def test_a_step_that_fails_stops_the_demo_with_its_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "commands", lambda out, short: [["recipes", "show"], ["recipes"]])
    monkeypatch.setattr(demo, "SIZE", (12, 16, 16))
    with pytest.raises(SystemExit) as end:
        demo.demo(tmp_path / "demo", short=True)
    assert end.value.code == 2
    assert (tmp_path / "demo" / "scans").is_dir(), "what was written stays"
    said = capsys.readouterr()
    assert "$ medssl recipes show" in said.out
    assert "`medssl recipes` ended with exit code 2" in said.err


def test_the_short_demo_ends_in_a_report(tmp_path):
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "medssl.cli", "demo", "--short", "--out", str(out)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    echoed = [shlex.split(line[2:]) for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert echoed == [["medssl", *words] for words in demo.commands(out, short=True)]
    assert done.stdout.splitlines()[-1] == f"report: {out / 'report.html'}"
    page = (out / "report.html").read_text()
    titles = re.findall(r"<h[23]>([^<]*)</h[23]>", page)
    for title in ("Fine-tuned results side by side", "Data", "Left out", "Views and crops", "Restoration"):
        assert title in titles
    for name in ("loss.discrimination", "loss.restoration", "loss.adversarial", "loss.discriminator"):
        assert name in page
    for run in ("pretrained", "scratch"):
        dice = json.loads((out / "runs" / run / "results.json").read_text())["test"]["dice"]
        assert f"{dice:.4g}" in page
    assert not re.search(r"https?://", page)
    assert str(tmp_path) not in page
