"""Scores of a benchmark by subgroup: as if each run had been tested on the cases of a group alone."""

from __future__ import annotations

import json

import pytest
from test_benchmark import bench, line

from medssl.benchmarking import subgroups
from medssl.benchmarking.comparison import summarise
from medssl.benchmarking.loop import benchmark
from medssl.data.cache import Cache
from medssl.data.phantom.cases import phantom_cache
from medssl.recipe import Options
from medssl.report import benchmarked, runs


def cases(tmp_path, **columns):
    """Cases of a phantom cache, as if the user's table had these columns."""
    phantom_cache(tmp_path / "cache", len(next(iter(columns.values()))), (16, 16, 16), 0, "ct")
    found = list(Cache(tmp_path / "cache").cases.values())
    return [
        case._replace(id=str(i), table={name: values[i] for name, values in columns.items()})
        for i, case in enumerate(found)
    ]


def test_groups_are_the_values_of_the_table_and_ages_by_decades(tmp_path):
    found = subgroups.groups(
        cases(tmp_path, sex=["F", "M", "F", ""], age=["045Y", "12", "80", "unknown"], view=["PA"] * 4)
    )
    assert found == {
        "sex": {"F": ["0", "2"], "M": ["1"]},
        "age": {"40 to 59": ["0"], "80 and over": ["2"], "under 40": ["1"]},
    }, "what is unknown is in no group, and a view that all share tells nothing apart"


def test_a_group_scores_as_if_it_were_the_test():
    dices = {
        "scratch": [[0.2, 0.5, 0.8, 0.3], [0.3, 0.5, 0.6, 0.4]],
        "pre": [[0.4, 0.6, 0.8, 0.1], [0.6, 0.5, 0.7, 0.3]],
    }
    lines = [line(init, seed, values) for init, of in dices.items() for seed, values in enumerate(of)]
    women = [line(init, seed, values[:3]) for init, of in dices.items() for seed, values in enumerate(of)]
    groups = {"t": {"sex": {"F": ["0", "1", "2"], "M": ["3"]}}}
    found = {(e["init"], e["group"]): e for e in subgroups.summarise(lines, groups, "scratch")}
    (expected,) = [entry for entry in summarise(women, "scratch") if entry["init"] == "pre"]
    for name in ("mean", "mean_low", "mean_high", "n", "patients", "difference", "low", "high", "p"):
        assert found["pre", "F"][name] == pytest.approx(expected[name]), name
    assert found["pre", "M"]["difference"] == pytest.approx(-0.15)
    assert (found["pre", "M"]["patients"], found["pre", "M"]["p"]) == (1, None)


def test_a_group_without_a_score_is_left_out():
    one = line("scratch", 0, [0.2, 0.5])
    one["rows"][1] |= {"dice": None, "dice.lesion": None}
    found = subgroups.summarise([one], {"t": {"sex": {"F": ["0"], "M": ["1"]}}}, "scratch")
    assert [(entry["group"], entry["mean"]) for entry in found] == [("F", 0.2)]


def test_the_report_of_a_benchmark_shows_them(tmp_path, monkeypatch):
    phantom_cache(tmp_path / "cache", 8, (16, 16, 16), 0, "ct")
    test = [case.id for case in Cache(tmp_path / "cache").cases.values() if case.split == "test"]
    for i, name in enumerate(test):
        record = tmp_path / "cache" / "cases" / f"{name}.json"
        content = json.loads(record.read_text())
        content["case"]["table"] = {"sex": "FM"[i % 2]}
        record.write_text(json.dumps(content))
    made = bench(tmp_path, fractions=[1])
    made.tasks["ct"]["data"] = {"cache": str(tmp_path / "cache")}
    benchmark(made, Options(out=str(tmp_path / "out"), device="cpu"))
    (table,) = benchmarked.subgroups(runs.read(tmp_path / "out").subgroups)
    assert table.title == "Subgroups: ct"
    assert [row[1:5] for row in table.rows] == [
        ["sex", group, str(len(test[at::2])), init] for at, group in enumerate("FM") for init in ("scratch", "longer")
    ]
