"""`medssl demo`: it echoes the commands of a user, its short form runs to a report, its sentence is computed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medssl.data.phantom.patterns import PATTERNS, pattern_film
from medssl.recipe import load
from medssl.verbs import demo


def words_of(verb: str, seed: int = 0) -> list[str]:
    (found,) = [words for words in demo.commands(Path("demo"), demo.FULL, seed) if words[0] == verb]
    return found


def test_the_chain_is_that_of_a_user():
    verbs = [words[0] for words in demo.commands(Path("demo"), demo.FULL, 0)]
    assert verbs == ["scan", "prepare", "preview", "pretrain", "finetune", "benchmark", "report"]


def test_no_seed_is_picked():
    """Another seed is another set of films, split, pretraining and draw of labels."""
    for verb in ("scan", "pretrain", "finetune"):
        assert [w.replace("7", "0") for w in words_of(verb, 7)] == [w.replace("7", "0") for w in words_of(verb)]
        assert words_of(verb, 7) != words_of(verb)
    assert json.loads(demo.few_shot(Path("demo"), demo.FULL, 7))["seeds"] == [7, 8, 9, 10]


def test_scratch_and_pretrained_differ_in_their_start_alone():
    content = json.loads(demo.few_shot(Path("demo"), demo.FULL, 0))
    assert content["inits"] == {"scratch": "scratch", "pretrained": "demo/runs/pretrain"}
    assert all(isinstance(init, str) for init in content["inits"].values()), "no overrides of its own"
    load("benchmark", content, [])


@pytest.mark.parametrize("low", [-0.01, 0.01])
def test_the_sentence_says_what_the_files_say(tmp_path, low):
    for name in ("probe", "few_shot"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    rows = [
        {"network": network, "features": "mean", "probe": "logistic", "shots": shots, "value": value, "sd": 0.02}
        for shots in (1, demo.SHOTS)
        for network, value in (("this encoder", 0.5 + shots / 10), ("untrained", 0.4))
    ]
    (tmp_path / "runs/probe/results.json").write_text(json.dumps({"score": "auc", "few_shot": rows}))
    entry = {"difference": 0.05, "low": low, "high": 0.09, "score": "auc", "cases": 28.0}
    (tmp_path / "runs/few_shot/summary.json").write_text(json.dumps([{"init": "scratch"}, entry]))
    said = demo.sentence(tmp_path)
    assert "this encoder 1.000 ± 0.020; untrained 0.400 ± 0.020" in said
    assert ("is better than scratch" if low > 0 else "is not shown to be better than scratch") in said
    assert f"(auc +0.050, 95% interval {low:+.3f} to +0.090" in said


def test_films_of_different_patterns_have_alike_histograms():
    """What tells patterns is texture: brightness and contrast of a film vary far more than they differ by pattern."""
    rng = np.random.default_rng(0)
    films = {pattern: np.stack([pattern_film(rng, pattern) for _ in range(24)]) / 255 for pattern in PATTERNS}
    for measure in (np.mean, np.std):
        values = {pattern: measure(found, axis=(1, 2)) for pattern, found in films.items()}
        means = [found.mean() for found in values.values()]
        assert np.ptp(means) < 2 * np.mean([found.std() for found in values.values()])


def test_a_step_that_fails_stops_the_demo_with_its_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "commands", lambda out, size, seed: [["recipes", "show"], ["recipes"]])
    with pytest.raises(SystemExit) as end:
        demo.demo(tmp_path / "demo", short=True)
    assert end.value.code == 2
    assert (tmp_path / "demo" / "films").is_dir(), "what was written stays"
    said = capsys.readouterr()
    assert "$ medssl recipes show" in said.out
    assert "`medssl recipes` ended with exit code 2" in said.err


def test_the_short_demo_ends_in_a_sentence_and_a_report(tmp_path):
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "medssl.cli", "demo", "--short", "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    echoed = [shlex.split(line[2:]) for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert echoed == [["medssl", *words] for words in demo.commands(out, demo.SHORT, 0)]
    *_, said, report = done.stdout.splitlines()
    assert said == demo.sentence(out)
    assert report == f"report: {out / 'report.html'}"
    page = (out / "report.html").read_text()
    titles = re.findall(r"<h[23]>([^<]*)</h[23]>", page)
    for title in ("Data", "Views and crops", "Probes with few labels", "Loss curves"):
        assert title in titles
    assert str(tmp_path) not in page
