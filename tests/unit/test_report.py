"""The report: what a run directory holds is on the page, what must not be shown is not."""

from __future__ import annotations

import base64
import html
import io
import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from medssl import cli, report
from medssl.report import benchmarked, curves
from medssl.report.names import meaning
from medssl.report.parts import without_paths, words
from medssl.report.sections import BURNED_IN, HIDDEN
from medssl.types import InputError

STEPS = 10


def picture(gray: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), gray, np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


def line(step: int) -> dict[str, float]:
    return {
        "step": step, "samples": 2 * step, "lr": 0.1, "lr.main": 0.1, "time": 0.5, "data_wait": 0.125, "memory": 321.0,
        "loss.discrimination": 3.0 / step, "loss.restoration": 0.25, "metric.chance": 2.0, "metric.top1": 0.5,
    }  # fmt: skip


@pytest.fixture
def make_run(tmp_path):
    """Write a run directory by hand."""

    def write(name: str, *, radiographs: bool = False, dice: float | None = None, overlap: str = "none seen"):
        run = tmp_path / name
        (run / "figures").mkdir(parents=True)
        group = {"method": {"kind": "adco"}} if dice is None else {"task": {"kind": "segment"}}
        recipe = {"seed": 0, "data": {"cache": "/home/Jane_Doe/cache", "train": "train"}, **group}
        (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        lock = {"cache": "abc123", "cases": 7, "patients": 5, "subsets": {"train": 4}, "radiographs": radiographs}
        lock |= {"left_out": {"not an image": 3, "<b>odd</b>": 1}}
        (run / "manifest.lock").write_text(json.dumps(lock))
        (run / "metrics.jsonl").write_text("".join(json.dumps(line(s + 1)) + "\n" for s in range(STEPS)))
        (run / "figures" / "views.png").write_bytes(picture(200))
        if dice is not None:
            test = {"cases": 3, "patients": 2, "dice": dice, "interval": {"low": 0.1, "high": 0.9}, "rows": []}
            test["summary"] = {"dice": dice, "dice.1": dice}
            results = {"test": test, "init": f"init of {name}", "floor": {"dice": 0.125}}
            results["overlap"] = {"patients": [], "sentence": overlap}
            (run / "results.json").write_text(json.dumps(results))
        return run

    return write


def page_of(runs, tmp_path, **options) -> str:
    return report.build(runs, tmp_path / "page.html", **options).read_text()


def svgs_of(page: str) -> list[str]:
    return [base64.b64decode(text).decode() for text in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)]


def cells(page: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.S)]


def test_the_page_tells_what_the_run_directory_says(make_run, tmp_path):
    page = page_of([make_run("first")], tmp_path)
    rows = cells(page)
    for row in (["cases", "7"], ["patients", "5"], ["subset train", "4"], ["not an image", "3"]):
        assert row in rows
    for row in (["steps", "10"], ["samples", "20"], ["seconds", "5"], ["waiting for data", "25.0%"]):
        assert row in rows
    assert ["peak memory", "321 MiB"] in rows
    assert ["loss.discrimination", "0.3"] in rows
    assert "<b>odd</b>" not in page, "what comes from files is escaped"
    assert "&lt;b&gt;odd" in page


def test_the_page_is_self_contained_and_holds_the_pictures_as_they_are(make_run, tmp_path):
    page = page_of([make_run("first")], tmp_path)
    sources = re.findall(r'src="([^"]+)"', page)
    kinds = [source.split(";")[0] for source in sources]
    assert kinds == ["data:image/svg+xml"] * 4 + ["data:image/png"], "two losses, one measure, one rate; the figure"
    assert base64.b64decode(sources[-1].split(",")[1]) == picture(200)
    assert all("http" not in re.sub(r'xmlns[^"]*"[^"]*"|<!DOCTYPE[^>]*>', "", svg) for svg in svgs_of(page))
    assert not re.search(r"https?://|<script|<link|href=", page)


def test_a_page_shows_no_path(make_run, tmp_path):
    page = page_of([make_run("first")], tmp_path)
    assert "Jane_Doe" not in page
    assert str(tmp_path) not in page
    assert "(given)" in page


MARKER = "Jane_Doe"
RECIPES = {
    "benchmark": {
        "inits": {
            "scratch": "scratch",
            "plain": MARKER,
            "more": {"init": f"runs/{MARKER}", "overrides": {"data.splits": MARKER, "data": {"cache": MARKER}}},
        },
        "tasks": {"ct": {"recipe": f"{MARKER}.yaml", "data": {"cache": f"/data/{MARKER}", "manifest": None}}},
        "fractions": [1.0],
        "seeds": [0],
    },
    "finetune": {"data": {"cache": MARKER, "manifest": MARKER, "splits": MARKER}, "task": {"kind": f"{MARKER}/x"}},
}


@pytest.mark.parametrize("verb", RECIPES)
def test_no_recipe_shows_where_files_lie(verb, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text(yaml.safe_dump(RECIPES[verb]))
    page = page_of([run], tmp_path)
    assert f"{verb}: run" in page
    assert MARKER not in page
    assert "(given)" in page
    masked = without_paths(RECIPES["benchmark"])
    assert masked["inits"]["scratch"] == "scratch"
    assert masked["tasks"]["ct"]["data"] == {"cache": "(given)", "manifest": None}
    assert masked["inits"]["more"]["overrides"] == {"data.splits": "(given)", "data": {"cache": "(given)"}}


def entry(init: str, fraction: str, cases: float, mean: float, **more):
    found = {"task": "ct", "fraction": fraction, "init": init, "score": "dice", "mean": mean, "sd": 0.01, "n": 3}
    limits = {"mean_low": mean - 0.1, "mean_high": mean + 0.2}
    return found | limits | {"cases": cases, "draws": 3, "floor": None} | more


PAIRED = {"difference": 0.05, "to": "scratch", "low": -0.01, "high": 0.11, "p": 0.25}
SUMMARY = [
    entry("scratch", "1.0", 9.0, 0.5),
    entry("scratch", "0.25", 2.0, 0.3, floor=0.125),
    entry("pre", "1.0", 9.0, 0.55, **PAIRED),
    entry("pre", "0.25", 2.0, 0.35, **PAIRED | {"low": None, "high": None, "p": None}),
]


def test_a_benchmark_shows_its_differences_first_and_its_runs_last(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text(yaml.safe_dump(RECIPES["benchmark"]))
    lines = [{"task": "ct", "init": "pre", "seed": seed, "value": 0.5, "init_from": "pre:12ab"} for seed in range(3)]
    (run / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "Scores" not in page_of([run], tmp_path), "not finished"
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    page = page_of([run], tmp_path)
    rows = cells(page)
    head = ["labels", "cases", "init", "dice", "sd", "95% interval", "n", "draws"]
    assert rows[0] == [*head, "difference to scratch", "95% interval", "p"]
    assert rows[1:6] == [
        ["0.25", "2", "scratch", "0.3000", "0.0100", "0.2000 to 0.5000", "3", "3", "", "", ""],
        ["0.25", "2", "pre", "0.3500", "0.0100", "0.2500 to 0.5500", "3", "3", "+0.0500", "-", "-"],
        ["0.25", "", "no image (floor)", "0.1250", "", "", "", "", "", "", ""],
        ["1.0", "9", "scratch", "0.5000", "0.0100", "0.4000 to 0.7000", "3", "3", "", "", ""],
        ["1.0", "9", "pre", "0.5500", "0.0100", "0.4500 to 0.7500", "3", "3", "+0.0500", "-0.0100 to +0.1100", "0.250"],
    ]
    assert rows[6:] == [["task", "init", "seed", "value"], *(["ct", "pre", str(seed), "0.5000"] for seed in range(3))]
    order = [
        page.index(word)
        for word in (
            "every difference is exploratory",
            "Label efficiency: ct",
            "<img",
            "Scores: ct",
            "sets of labelled cases",
            "Every run",
        )
    ]
    assert order == sorted(order)
    assert re.search(r"<details><summary>Every run \(3\)</summary>.*0\.5.*</details>", page, re.S)


def test_label_efficiency_draws_means_and_limits():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    broken = [found | {"mean": None, "mean_low": None} if found["mean"] == 0.5 else found for found in SUMMARY]
    benchmarked.draw(axes, broken)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.25\n2 cases", "1.0\n9 cases"]
    assert axes.get_legend_handles_labels()[1] == ["no image (floor)", "scratch", "pre"]
    scratch, pre = axes.containers
    np.testing.assert_array_equal(pre.lines[0].get_ydata(), [0.35, 0.55])
    np.testing.assert_allclose([bar[:, 1] for bar in pre.lines[2][0].get_segments()], [[0.25, 0.55], [0.45, 0.75]])
    np.testing.assert_array_equal(scratch.lines[0].get_ydata(), [0.3, np.nan])


def test_an_interval_of_two_seeds_does_not_hide_scores_between_0_and_1():
    from matplotlib.figure import Figure

    axes, beyond = Figure().add_subplot(), Figure().add_subplot()
    wide = [found | {"mean_low": -3, "mean_high": 4} for found in SUMMARY]
    benchmarked.draw(axes, wide)
    assert axes.get_ylim() == (-0.05, 1.05)
    benchmarked.draw(beyond, [found | {"mean": 2} for found in wide])
    assert beyond.get_ylim()[0] < -1


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("recipe.yaml", "data: [unclosed"),
        ("recipe.yaml", "no groups"),
        ("recipe.yaml", b"\xff\xfe"),
        ("results.json", '{"test": {'),
        ("results.json", "[]"),
        ("results.json", '{"score": "dice"}'),
        ("results.json", '{"test": {"dice": 1}}'),
        ("manifest.lock", "{"),
        ("metrics.jsonl", '{"loss.x": 1}\n'),
        ("metrics.jsonl", '{"st\n{"step": 2}\n'),
        ("results.jsonl", "3\n"),
        ("summary.json", "{}"),
        ("summary.json", '[{"task": "ct"}]'),
    ],
)
def test_a_damaged_run_is_refused_in_one_sentence(make_run, tmp_path, file, content, capsys, monkeypatch):
    run = make_run("damaged", dice=0.5)
    (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"{file} is damaged \(.*\): ") as raised:
        page_of([run], tmp_path)
    assert "\n" not in str(raised.value)
    monkeypatch.setattr("sys.argv", ["medssl", "report", str(run)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_curves_bear_what_is_not_a_number(make_run, tmp_path):
    lines = [line(step + 1) for step in range(STEPS)]
    for step, value in ((3, None), (5, float("nan")), (7, float("inf")), (9, float("nan"))):
        lines[step]["loss.restoration"] = value
    lines[-1] |= {"memory": None, "time": None}
    _, values = curves.series(lines, "loss.restoration")
    np.testing.assert_array_equal(np.isnan(values), [False, False, False, False, True, False, True, False, True])
    smoothed = curves.smooth(values, share=0.5)
    np.testing.assert_array_equal(smoothed, np.where(np.isnan(values), np.nan, 0.25))
    run = make_run("broken")
    (run / "metrics.jsonl").write_text("".join(json.dumps(found) + "\n" for found in lines))
    assert ["loss.restoration", "-"] in cells(page_of([run], tmp_path))


def test_radiographs_are_hidden_unless_asked_for(make_run, tmp_path):
    run = make_run("xray", radiographs=True)
    shown = base64.b64encode(picture(200)).decode()
    page = page_of([run], tmp_path)
    assert shown not in page
    assert HIDDEN in html.unescape(page)
    asked = page_of([run], tmp_path, pictures=True)
    assert shown in asked
    assert BURNED_IN in asked
    other = page_of([make_run("volume")], tmp_path)
    assert shown in other
    assert BURNED_IN not in other
    assert HIDDEN not in html.unescape(other)


def test_finetuned_runs_stand_side_by_side(make_run, tmp_path):
    runs = [make_run("pretrained", dice=0.75, overlap="2 of 2 test patients were seen"), make_run("scratch", dice=0.5)]
    page = page_of(runs, tmp_path)
    rows = cells(page)
    assert ["run", "test dice", "95% interval", "patients", "initial weights"] in rows
    assert ["pretrained", "0.75", "0.1 to 0.9", "2", "init of pretrained"] in rows
    assert ["scratch", "0.5", "0.1 to 0.9", "2", "init of scratch"] in rows
    assert ["no image (floor): dice", "0.125", ""] in rows
    assert "2 of 2 test patients were seen" in page
    assert "side by side" not in page_of(runs[:1], tmp_path)


def test_a_run_that_was_killed_in_a_line_can_still_be_read(make_run, tmp_path):
    run = make_run("killed")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "loss.discr')
    assert ["steps", "10"] in cells(page_of([run], tmp_path))


def test_a_run_that_has_only_begun_has_a_page(make_run, tmp_path):
    run = make_run("begun")
    for name in ("metrics.jsonl", "manifest.lock", "figures/views.png"):
        (run / name).unlink()
    page = page_of([run], tmp_path)
    assert "pretrain: begun" in page
    assert "<img" not in page


def test_what_is_no_run_and_where_no_page_can_be(make_run, tmp_path):
    with pytest.raises(InputError, match="not a run directory"):
        report.build([tmp_path], tmp_path / "page.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        report.build([make_run("first")], tmp_path / "file" / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "first"]


def test_there_is_one_chart_per_name_and_the_chance_level_stands_in_it():
    lines = [line(step + 1) | {"metric.val_auc": 0.7} for step in range(STEPS)]
    assert curves.names(lines, ["loss."]) == ["loss.discrimination", "loss.restoration"]
    drawn = [chart.name for chart in curves.charts(lines)]
    assert drawn == ["loss.discrimination", "loss.restoration", "metric.top1", "metric.val_auc"]
    assert curves.charts(lines, ["nothing."]) == []
    from matplotlib.figure import Figure

    for name, level in (("loss.discrimination", [2.0] * STEPS), ("metric.val_auc", [0.5, 0.5])):
        axes = Figure().add_subplot()
        curves.draw(axes, lines, name)
        raw, _, chance = axes.get_lines()
        np.testing.assert_array_equal(raw.get_ydata(), [found[name] for found in lines])
        np.testing.assert_array_equal(chance.get_ydata(), level)


def test_long_curves_are_thinned():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    curves.draw(axes, [{"step": step, "lr.main": 1.0 / step} for step in range(1, 5001)], "lr.main")
    assert all(200 <= len(drawn.get_xdata()) <= 2 * curves.MOST for drawn in axes.get_lines())


@pytest.mark.parametrize(
    ("steps", "more", "words"),
    [
        (20, {}, ("stopped at step 10 of 20", "resume=true")),
        (10, {"metric.effective_rank": 1.01}, ("finished", "Collapsed")),
        (10, {"loss.discrimination": 1.99}, ("finished", "at chance (loss 1.99, a guess 2)")),
        (10, {"metric.top1": 1.0}, ("100% of cases", "too easy")),
        (10, {}, ("50% of cases (loss 0.3, a guess 2)", "probe_2d data.cache=CACHE init=RUN")),
    ],
)
def test_the_verdict_and_the_next_step_stand_first(make_run, tmp_path, steps, more, words):
    run = make_run("first")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text()) | {"train": {"steps": steps}, "spatial_dims": 2}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line(s + 1) | more) + "\n" for s in range(STEPS)))
    page = page_of([run], tmp_path)
    for word in words:
        assert word in page
    assert page.index(words[1]) < page.index("<table")


def test_recipe_command_and_date_are_shown_without_paths(make_run, tmp_path):
    run = make_run("first")
    command = words("pretrain", "phantom_tiny", {"data.cache": "Jane_Doe", "out": "/home/Jane_Doe/run"})
    start = {"recipe": "phantom_tiny", "command": command, "begun": "2026-01-02 03:04"}
    (run / "start.json").write_text(json.dumps(start))
    page = page_of([run], tmp_path)
    assert "recipe phantom_tiny · begun 2026-01-02 03:04" in page
    assert "medssl pretrain phantom_tiny data.cache=(given) out=(given)" in page


def test_every_name_that_a_run_logs_is_explained():
    names = ["loss.discrimination", "metric.val_auc.bacterial_pneumonia", "metric.rank_level3", "lr.bank", "metric.odd"]
    assert [meaning(name).title for name in names] == [
        "Discrimination loss",
        "Validation AUC: bacterial pneumonia",
        "Effective rank, level 3",
        "Learning rate: bank",
        "odd",
    ]
    assert all(meaning(name).text for name in names[:4])


def test_smoothing_keeps_constants_and_lines_and_shortens_nothing():
    np.testing.assert_allclose(curves.smooth(np.full(100, 3.0)), 3.0)
    line = np.arange(200.0)
    smoothed = curves.smooth(line)
    assert smoothed.shape == line.shape
    np.testing.assert_allclose(smoothed[5:-5], line[5:-5])
    assert smoothed[0] == line[:6].mean(), "a window cut by the end holds what is there"
