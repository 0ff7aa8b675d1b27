from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from finetuning import SEGMENT, options

from medssl.benchmarking import fingerprint, grid, runs, text
from medssl.benchmarking.comparison import summarise
from medssl.benchmarking.grid import Cell
from medssl.benchmarking.loop import benchmark
from medssl.data.cache import Cache
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import log
from medssl.recipe import BenchmarkRecipe, validate
from medssl.report.verdict import verdict
from medssl.types import InputError

ROWS = {"settings": {"kind": "segment", "classes": ["lesion"]}, "spatial_dims": 3, "score": "dice", "floor": None}


def line(init, seed, dices):
    rows = [{"id": str(i), "patient": str(i), "dice": dice, "dice.lesion": dice} for i, dice in enumerate(dices)]
    cell = {"task": "t", "init": init, "fraction": "n4", "seed": seed, "cases": 4, "subset": f"draw {seed}"}
    return {**cell, **ROWS, "value": float(np.mean(dices)), "rows": rows}


def bench(folder, **changes):
    (folder / "segment.yaml").write_text(SEGMENT)
    content = {
        "inits": {"scratch": "scratch", "longer": {"init": "scratch", "longer": 2}},
        "tasks": {"ct": {"recipe": str(folder / "segment.yaml"), "train": {"steps": 1}}},
        "fractions": [0.5, 1],
        "seeds": [0],
    }
    return validate(BenchmarkRecipe, content | changes, "benchmark")


def test_a_known_difference_is_found_with_its_limits():
    rng = np.random.default_rng(0)
    lines = []
    for seed in range(6):
        base = rng.uniform(0.5, 0.9, 30)
        lines.append(line("scratch", seed, base))
        lines.append(line("better", seed, base + 0.02 + rng.normal(0, 0.002)))
    scratch, better = sorted(summarise(lines, "scratch"), key=lambda entry: entry["init"], reverse=True)
    assert "difference" not in scratch
    assert better["difference"] == pytest.approx(0.02, abs=0.003)
    assert 0.015 < better["low"] < better["difference"] < better["high"] < 0.025
    assert better["p_seeds"] == better["p_seeds_least"] == pytest.approx(2 / 2**6)
    assert better["p"] < 0.001
    assert (better["won"], better["patients"]) == (1.0, 30)
    assert better["n"] == 6
    assert better["sd"] == pytest.approx(np.std([x["value"] for x in lines[1::2]], ddof=1))
    assert "to scratch +0.0" in text.table([better])
    assert better["mean_low"] < better["mean"] < better["mean_high"]
    assert better["high"] - better["low"] < better["mean_high"] - better["mean_low"], "what both share cancels"
    assert (better["cases"], better["draws"], better["to"]) == (4, 6, "scratch")


def patients_of(init, seed, scores, fraction="n4", cases=4, task="t"):
    return line(init, seed, scores) | {"fraction": fraction, "cases": cases, "task": task}


def test_interval_and_p_are_those_of_the_reader_study():
    """localization.md, case MR1: differences of three seeds in four patients."""
    d = np.array([[0.02, 0.05, -0.01, 0.04], [0.01, 0.03, 0.0, 0.06], [0.04, 0.05, 0.01, 0.08]])
    lines = [line("scratch", seed, [0.5] * 4) for seed in range(3)]
    lines += [line("pre", seed, 0.5 + d[seed]) for seed in range(3)]
    (pre,) = [entry for entry in summarise(lines, "scratch") if entry["init"] == "pre"]
    assert pre["difference"] == pytest.approx(0.031667, abs=1e-6)
    assert (pre["low"], pre["high"], pre["p"]) == pytest.approx((0.002922, 0.060412, 0.031645), abs=1e-6)


def test_holm_is_over_the_primary_family_alone():
    """Two tasks at the primary amount of labels; the third comparison is exploratory."""
    rng, lines = np.random.default_rng(1), []
    for task, fraction, gain in (("a", "0.1", 0.03), ("b", "0.1", 0.02), ("a", "1.0", 0.03)):
        for seed in range(8):
            base = rng.uniform(0.5, 0.9, 30)
            cases = 10 if fraction == "1.0" else 1
            lines.append(patients_of("scratch", seed, base, fraction, cases, task))
            lines.append(patients_of("pre", seed, base + gain + rng.normal(0, 0.08, 30), fraction, cases, task))
    asked = validate(
        BenchmarkRecipe,
        {
            "inits": {"scratch": "scratch", "pre": "run"},
            "tasks": {"a": {}, "b": {}},
            "fractions": [0.1, 1.0],
            "seeds": [0],
            "primary": {"fraction": 0.1},
        },
        "benchmark",
    )
    table = summarise(lines, "scratch", asked)
    a, b, other = (entry for entry in table if entry["init"] == "pre")
    low, high = sorted([a, b], key=lambda entry: entry["p"])
    assert low["p_holm"] == pytest.approx(min(1, 2 * low["p"]))
    assert high["p_holm"] == pytest.approx(min(1, max(2 * low["p"], high["p"])))
    assert "p_holm" not in other
    ranks = {entry["init"]: entry for entry in table if entry["fraction"] == "0.1"}
    assert (ranks["pre"]["rank"], ranks["scratch"]["rank"], ranks["pre"]["ranked_tasks"]) == (1.0, 2.0, 2)
    assert ranks["pre"]["rank_first"] + ranks["scratch"]["rank_first"] == pytest.approx(1)
    said = verdict(table)
    assert said.startswith("Of 2 primary comparisons to scratch (labels: 0.1), ")
    assert f"pre on a {a['difference']:+.4f} dice" in said
    assert f"p {a['p_holm']:.3f}" in said


def test_without_a_primary_family_all_is_exploratory_and_few_patients_are_said():
    lines = [
        line(init, seed, [0.5, 0.6 + shift]) for seed in range(2) for init, shift in (("scratch", 0), ("pre", 0.1))
    ]
    said = verdict(summarise(lines, "scratch"))
    assert "every difference is exploratory: pre on t +0.0500 dice" in said
    assert "t has only 2 test patients" in said
    assert "Nothing was compared" in verdict(summarise(lines[::2], "scratch"))


def test_labels_saved_are_read_off_the_scratch_curve():
    """localization.md, case LS1: .74 with 8 labels is what scratch reaches with 12.7."""
    lines = []
    for seed in range(2):
        for cases, score in ((4, 0.60), (8, 0.70), (16, 0.76), (32, 0.80)):
            lines.append(patients_of("scratch", seed, [score, score], f"n{cases}", cases))
        lines.append(patients_of("pre", seed, [0.74, 0.74], "n8", 8))
        lines.append(patients_of("best", seed, [0.82, 0.82], "n8", 8))
    found = {entry["init"]: entry for entry in summarise(lines, "scratch") if entry["init"] != "scratch"}
    assert found["pre"]["labels_reached"] == found["pre"]["labels_low"] == found["pre"]["labels_high"] == "12.7"
    assert found["best"]["labels_reached"] == "> 32"


def test_a_primary_family_is_of_what_is_run():
    for primary, message in (({"fraction": 0.3}, "not one of the fractions"), ({"fraction": 1, "inits": ["x"]}, "'x'")):
        content = {"inits": {"scratch": "scratch"}, "tasks": {"a": {}}, "fractions": [1], "seeds": [0]}
        with pytest.raises(InputError, match=message):
            validate(BenchmarkRecipe, content | {"primary": primary}, "benchmark")


def test_run_noise_widens_the_interval():
    """Equal means; one arm wins by .05 in half of the seeds and loses in the others: cases alone cannot show that."""
    lines = []
    for seed in range(6):
        lines.append(line("scratch", seed, [0.7] * 30))
        lines.append(line("noisy", seed, [0.7 + 0.05 * (-1) ** seed] * 30))
    (noisy,) = [entry for entry in summarise(lines, "scratch") if entry["init"] == "noisy"]
    assert noisy["difference"] == pytest.approx(0)
    assert noisy["low"] < -0.02
    assert noisy["high"] > 0.02


def test_other_test_cases_are_not_paired():
    one, other = line("scratch", 0, [0.5, 0.6]), line("better", 0, [0.5, 0.6, 0.7])
    assert all("difference" not in entry for entry in summarise([one, other], "scratch"))


def test_missing_scores_are_left_out_of_means():
    lines = [line("scratch", 0, [0.5, 0.7]), line("better", 0, [0.6, 0.8])]
    lines[0]["rows"].append({"id": "2", "patient": "2", "dice": None, "dice.lesion": None})
    lines[1]["rows"].append({"id": "2", "patient": "2", "dice": None, "dice.lesion": None})
    (better,) = [entry for entry in summarise(lines, "scratch") if entry["init"] == "better"]
    assert better["difference"] == pytest.approx(0.1)


def test_one_seed_has_no_interval_and_no_p():
    table = summarise([line("scratch", 0, [0.5, 0.7]), line("better", 0, [0.6, 0.8])], "scratch")
    (better,) = [entry for entry in table if entry["init"] == "better"]
    assert better["difference"] == pytest.approx(0.1)
    assert [better[key] for key in ("sd", "low", "high", "p", "mean_low", "mean_high")] == [None] * 6
    assert text.table(table).splitlines()[1].endswith("better           dice 0.7000 (n=1)  to scratch +0.1000 -, p -")


def test_grid_runs_once_resumes_and_grows(tmp_path, monkeypatch):
    phantom_cache(tmp_path / "cache", 6, (16, 16, 16), 0, "ct")
    data = {"data": {"cache": str(tmp_path / "cache")}}
    made = bench(tmp_path)
    made.tasks["ct"].update(data)
    benchmark(made, options(tmp_path / "out"))
    lines = log.read(tmp_path / "out" / "results.jsonl")
    grid_order = [("scratch", "0.5"), ("scratch", "1.0"), ("longer", "0.5"), ("longer", "1.0")]
    assert [(x["init"], x["fraction"]) for x in lines] == grid_order
    assert [x["cases"] for x in lines[:2]] == [2, 4]
    cells = [Cell(x["task"], x["init"], x["fraction"], x["seed"]) for x in lines]
    recipes = [yaml.safe_load((tmp_path / "out" / cell.folder / "recipe.yaml").read_text()) for cell in cells]
    assert [content["train"]["steps"] for content in recipes] == [1, 1, 2, 2]
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())) == 4

    with (tmp_path / "out" / "results.jsonl").open("a") as file:
        file.write('{"task": "ct", "cut')  # what a kill leaves behind
    ran = []
    given = (tmp_path / "out" / "recipe.yaml").read_text()

    def run(job, *_):
        ran.append(job.cell)
        return lines[0] | job.cell._asdict() | job.fingerprint

    monkeypatch.setattr(runs, "run", run)
    wider = made.model_copy(update={"seeds": [0, 1]})
    benchmark(wider, options(tmp_path / "out", resume=True))
    assert {cell.seed for cell in ran} == {1}
    assert len(ran) == 4
    assert len(log.read(tmp_path / "out" / "results.jsonl")) == 8, "the cut line is gone"

    said = []
    monkeypatch.setattr("medssl.benchmarking.loop.say", said.append)
    other = made.model_copy(update={"seeds": [1, 2], "fractions": [1.0]})
    benchmark(other, options(tmp_path / "out", resume=True))
    counted = [sentence for sentence in said if sentence.startswith("[")]
    assert counted == [f"[{n} of 4] ct/{init}/1.0/seed2 is done" for n, init in ((3, "scratch"), (4, "longer"))]
    assert len(log.read(tmp_path / "out" / "results.jsonl")) == 10, "cells of the larger grid are kept"

    benchmark(wider, options(tmp_path / "out", resume=True))
    wider_recipe = (tmp_path / "out" / "recipe.yaml").read_text()
    assert wider_recipe != given
    changed = bench(tmp_path, tasks={"ct": {**made.tasks["ct"], "train": {"steps": 3}}})
    with pytest.raises(InputError, match=r"ct/scratch/0.5/seed0 was made with other values of the settings: undo"):
        benchmark(changed, options(tmp_path / "out", resume=True))
    assert (tmp_path / "out" / "recipe.yaml").read_text() == wider_recipe, "a refusal leaves the record as it is"


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A function that makes a benchmark run, with cells that cost nothing; what it ran, and how it is called."""
    ran = []

    def tune(recipe, options):
        ran.append(options.out)
        test = {"dice": 0.5, "rows": [{"id": "1", "patient": "1", "dice": 0.5, "dice.lesion": 0.5}]}
        about = {"score": "dice", "validation": 0.5, "cases": {"train": 1}, "floor": None, "overlap": {"patients": []}}
        return {**about, "test": test, "settings": ROWS["settings"]}

    monkeypatch.setattr(runs, "tune", tune)

    def go(cache="cache", **more):
        made = bench(tmp_path, inits={"scratch": "scratch", "pre": str(tmp_path / "Jane.pt")}, fractions=[0.5])
        made.tasks["ct"]["data"] = {"cache": str(tmp_path / cache)}
        benchmark(made, options(tmp_path / "out", **more))
        return log.read(tmp_path / "out" / "results.jsonl")

    phantom_cache(tmp_path / "cache", 6, (16, 16, 16), 0, "ct")
    torch.save({"encoder.x": torch.zeros(2)}, tmp_path / "Jane.pt")
    return go, ran


def test_cells_are_marked_by_data_and_weights_and_not_by_paths(finished, tmp_path):
    go, ran = finished
    scratch, pre = go()
    assert scratch["cache"] == Cache(tmp_path / "cache").hash
    assert scratch["init_from"] == "scratch:scratch"
    assert pre["init_from"] == "pre:" + hashlib.sha256((tmp_path / "Jane.pt").read_bytes()).hexdigest()[:16]
    assert scratch["subset"] == pre["subset"]
    assert str(tmp_path) not in json.dumps([scratch, pre])
    assert "Jane" not in (tmp_path / "out" / "results.jsonl").read_text()
    shutil.copytree(tmp_path / "cache", tmp_path / "moved")
    go(cache="moved", resume=True)
    assert len(ran) == 2, "the same data in another place is the same"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weights", "ct/pre/0.5/seed0 was made with other values of the weights it starts from: .*overwrite=true"),
        ("data", "ct/scratch/0.5/seed0 was made with other values of the content of the cache, the cases"),
        ("parts", "ct/pre/0.5/seed0 was made with other values of init_parts:"),
    ],
)
def test_a_cell_of_other_data_or_weights_is_not_kept(finished, tmp_path, change, message):
    go, ran = finished
    go()
    if change == "weights":
        torch.save({"encoder.x": torch.ones(2)}, tmp_path / "Jane.pt")
    phantom_cache(tmp_path / "other", 6, (16, 16, 16), 1, "ct")
    more = {"cache": "other"} if change == "data" else {"init_parts": ["encoder"]} if change == "parts" else {}
    with pytest.raises(InputError, match=message):
        go(resume=True, **more)
    assert len(ran) == 2


def test_a_cell_that_was_only_begun_is_judged_as_well(finished, tmp_path):
    go, ran = finished
    go()
    (tmp_path / "out" / "results.jsonl").unlink()
    torch.save({"encoder.x": torch.ones(2)}, tmp_path / "Jane.pt")
    with pytest.raises(InputError, match=r"ct/pre/0.5/seed0 was made with other values of the weights"):
        go(resume=True)
    go(overwrite=True)
    assert len(ran) == 4
    assert fingerprint.begun(tmp_path / "out" / "runs" / "ct" / "pre" / "0.5" / "seed0")["init_from"].startswith("pre:")
    (tmp_path / "without" / "checkpoints").mkdir(parents=True)
    assert fingerprint.begun(tmp_path / "without") == {}
    assert fingerprint.begun(tmp_path / "nowhere") is None


def test_fractions_are_nested_by_patient_and_drawn_by_seed(tmp_path):
    phantom_cache(tmp_path / "cache", 12, (16, 16, 16), 0, "ct")
    cache = Cache(tmp_path / "cache")
    drawn = []
    for seed in range(4):
        parts = [set(grid._part(cache.ids, share, cache, seed)) for share in (0.01, 0.25, 0.5, 1.0)]
        assert [len(part) for part in parts] == [1, 3, 6, 12]
        assert parts[0] < parts[1] < parts[2] < parts[3]
        drawn.append(frozenset(parts[1]))
    assert len(set(drawn)) == 4, "each seed has other labels"


def test_names_take_the_seed_of_the_run(tmp_path):
    phantom_cache(tmp_path / "cache", 6, (16, 16, 16), 0, "ct")
    cache = Cache(tmp_path / "cache")
    file = tmp_path / "splits.json"
    file.write_text(json.dumps({"seed0_n1": cache.ids[:1], "seed1_n1": cache.ids[1:2], "all": cache.ids[:4], "te": []}))
    data = {"cache": str(tmp_path / "cache"), "splits": str(file), "train": "all", "val": None, "test": None}
    made = bench(tmp_path, fractions=["n1", "all"], seeds=[0, 1])
    made.tasks["ct"]["data"] = data
    chosen = grid.subsets(made, grid.settings(made, Cell("ct", "scratch", "n1", 0), []), cache)
    assert chosen["n1_seed0"] == cache.ids[:1]
    assert chosen["n1_seed1"] == cache.ids[1:2]
    assert chosen["all_seed0"] == chosen["all_seed1"] == cache.ids[:4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inits": {"odd": {"init": "scratch", "steps": 3}}}, "inits.odd"),
        ({"tasks": {"ct": {"train": {"steps": 1}}}}, "names no recipe"),
        ({"tasks": {"ct": {"recipe": "nowhere.yaml"}}}, "does not exist"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        benchmark(bench(tmp_path, **changes), options(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
