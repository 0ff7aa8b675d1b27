from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from finetuning import SEGMENT, options

from medssl.data.cache import Cache
from medssl.data.phantom import phantom_cache
from medssl.engine import log
from medssl.recipe import BenchmarkRecipe, validate
from medssl.run import benchmark as room
from medssl.run import grid
from medssl.run.benchmark import benchmark
from medssl.run.comparison import summarise, text
from medssl.run.grid import Cell
from medssl.types import InputError

ROWS = {"settings": {"kind": "segment", "classes": ["lesion"]}, "spatial_dims": 3, "score": "dice", "floor": None}


def line(init, seed, dices):
    rows = [{"id": str(i), "patient": str(i), "dice": dice, "dice.lesion": dice} for i, dice in enumerate(dices)]
    cell = {"task": "t", "init": init, "fraction": "n4", "seed": seed}
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
    assert better["p"] == pytest.approx(2 / 2**6)
    assert better["n"] == 6
    assert better["sd"] == pytest.approx(np.std([x["value"] for x in lines[1::2]], ddof=1))
    assert "to scratch +0.0" in text([better])


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
    monkeypatch.setattr(room, "_run", lambda cell, *_: ran.append(cell) or lines[0] | cell._asdict())
    wider = made.model_copy(update={"seeds": [0, 1]})
    benchmark(wider, options(tmp_path / "out", resume=True))
    assert {cell.seed for cell in ran} == {1}
    assert len(ran) == 4
    assert len(log.read(tmp_path / "out" / "results.jsonl")) == 8

    changed = bench(tmp_path, tasks={"ct": {**made.tasks["ct"], "train": {"steps": 3}}})
    with pytest.raises(InputError, match="with other settings"):
        benchmark(changed, options(tmp_path / "out", resume=True))


def test_fractions_are_nested_and_by_patient(tmp_path):
    phantom_cache(tmp_path / "cache", 12, (16, 16, 16), 0, "ct")
    cache = Cache(tmp_path / "cache")
    parts = [set(grid._part(cache.ids, share, cache)) for share in (0.01, 0.25, 0.5, 1.0)]
    assert [len(part) for part in parts] == [1, 3, 6, 12]
    assert parts[0] < parts[1] < parts[2] < parts[3]


def test_names_take_the_seed_of_the_run(tmp_path):
    phantom_cache(tmp_path / "cache", 6, (16, 16, 16), 0, "ct")
    cache = Cache(tmp_path / "cache")
    file = tmp_path / "splits.json"
    file.write_text(json.dumps({"seed0_n1": cache.ids[:1], "seed1_n1": cache.ids[1:2], "all": cache.ids[:4], "te": []}))
    data = {"cache": str(tmp_path / "cache"), "splits": str(file), "train": "all", "val": None, "test": None}
    made = bench(tmp_path, fractions=["n1", "all"], seeds=[0, 1])
    made.tasks["ct"]["data"] = data
    cells = [Cell("ct", "scratch", "n1", 0)]
    chosen = grid.subsets(made, grid.settings(made, cells[0], []), cells, cache)
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
