"""The report: what a run directory holds is on the page, what must not be shown is not."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from medssl import report
from medssl.report import curves as curve_room
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
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    pngs = [base64.b64decode(source.split(",")[1]) for source in sources]
    assert picture(200) in pngs
    assert len(pngs) == 1 + 3, "the figure; losses, measures, learning rates"
    assert not re.search(r"https?://|<script|<link|href=", page)


def test_a_page_shows_no_path(make_run, tmp_path):
    page = page_of([make_run("first")], tmp_path)
    assert "Jane_Doe" not in page
    assert str(tmp_path) not in page
    assert "(given)" in page


def test_radiographs_are_hidden_unless_asked_for(make_run, tmp_path):
    run = make_run("xray", radiographs=True)
    shown = base64.b64encode(picture(200)).decode()
    page = page_of([run], tmp_path)
    assert shown not in page
    assert HIDDEN in page
    asked = page_of([run], tmp_path, pictures=True)
    assert shown in asked
    assert BURNED_IN in asked
    other = page_of([make_run("volume")], tmp_path)
    assert shown in other
    assert BURNED_IN not in other
    assert HIDDEN not in other


def test_finetuned_runs_stand_side_by_side(make_run, tmp_path):
    runs = [make_run("pretrained", dice=0.75, overlap="2 of 2 test patients were seen"), make_run("scratch", dice=0.5)]
    page = page_of(runs, tmp_path)
    rows = cells(page)
    assert ["run", "test dice", "95% interval", "patients", "starts from"] in rows
    assert ["pretrained", "0.75", "0.1 to 0.9", "2", "init of pretrained"] in rows
    assert ["scratch", "0.5", "0.1 to 0.9", "2", "init of scratch"] in rows
    assert ["floor: dice", "0.125", ""] in rows
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


def test_curves_have_one_panel_a_name_and_chance_is_drawn_into_the_contrastive_loss(monkeypatch):
    lines = [line(step + 1) for step in range(STEPS)]
    assert curve_room.names(lines, ["loss."]) == ["loss.discrimination", "loss.restoration"]
    drawn = []
    monkeypatch.setattr(curve_room, "_draw", lambda axes, lines, name: drawn.append(name))
    curve_room.curves(lines)
    assert drawn == ["loss.discrimination", "loss.restoration", "metric.top1"]
    assert curve_room.curves(lines, ["nothing."]) is None
    monkeypatch.undo()
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    curve_room._draw(axes, lines, "loss.discrimination")
    raw, _, chance = axes.get_lines()
    np.testing.assert_array_equal(raw.get_ydata(), [3.0 / step for step in range(1, STEPS + 1)])
    np.testing.assert_array_equal(chance.get_ydata(), [2.0] * STEPS)


def test_smoothing_keeps_constants_and_lines_and_shortens_nothing():
    np.testing.assert_allclose(curve_room.smooth(np.full(100, 3.0)), 3.0)
    line = np.arange(200.0)
    smoothed = curve_room.smooth(line)
    assert smoothed.shape == line.shape
    np.testing.assert_allclose(smoothed[5:-5], line[5:-5])
    assert smoothed[0] == line[:6].mean(), "a window cut by the end holds what is there"
