"""Labels that cannot be right: one sentence, exit code 2, and what a benchmark has finished is kept."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from PIL import Image
from test_bad_input import refused

SMALL = [
    "encoder={kind: tiny, channels: [4, 8]}",
    "augment.size=[32,32]",
    "train.steps=1",
    "train.batch=2",
    "device=cpu",
]
CLASSES = ["classify_tiny_2d", *SMALL]
LESIONS = ["localize_tiny_2d", *SMALL, "augment.preset=xray"]


def films(folder, classes, split, boxes=None):
    """Eight films of noise of 40x32, a patient each, and a table with their class, split and perhaps boxes."""
    (folder / "films").mkdir(parents=True)
    columns = {"id": [f"film{i}" for i in range(8)], "patient": [f"p{i}" for i in range(8)], "class": classes}
    columns |= {"split": split} | ({"boxes": boxes} if boxes else {})
    rng = np.random.default_rng(0)
    for name in columns["id"]:
        Image.fromarray(rng.integers(0, 255, (40, 32)).astype(np.uint8)).save(folder / "films" / f"{name}.png")
    lines = [",".join(columns), *(",".join(line) for line in zip(*columns.values(), strict=True))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


PARTS = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
BOTH = ["a", "b"] * 4


def scanned(medssl, folder, *more):
    table = ["--table", folder / "table.csv", "--modality", "DX"]
    return medssl("scan", folder / "films", *table, *more, "--out", folder / "m.csv")


def prepared(medssl, folder, *more):
    assert scanned(medssl, folder, *more).code == 0
    assert medssl("prepare", folder / "m.csv", "--out", folder / "cache", "--preset", "xray").code == 0
    return f"data.cache={folder / 'cache'}"


def test_labels_outside_the_classes(medssl, tmp_path):
    cache = prepared(medssl, films(tmp_path, BOTH, PARTS))
    said = medssl("finetune", *CLASSES, cache, "task.classes=[a,c]", f"out={tmp_path / 'run'}")
    refused(said, "has class b, which is not among a, c")
    for number in range(8):
        mask = np.zeros((40, 32), np.uint8)
        mask[5:15, 6:16], mask[20:24, 20:24] = 1, 3
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"film{number}.png")
    other = films(tmp_path / "other", BOTH, PARTS)
    cache = prepared(medssl, other, "--labels", tmp_path / "masks")
    for words in (LESIONS, [*LESIONS, "task.kind=segment"]):
        said = medssl("finetune", *words, cache, "task.classes=[mass]", f"out={tmp_path / 'lesions'}")
        refused(said, "values from 0 to 3, but the task has 0..1 (mass)")


def test_a_test_with_one_class_has_nothing_to_compare(medssl, tmp_path):
    cache = prepared(medssl, films(tmp_path, ["a", "b"] * 3 + ["a", "a"], PARTS))
    said = medssl("benchmark", bench(tmp_path, cache), f"out={tmp_path / 'out'}", "device=cpu")
    refused(said, "the test of tasks.t has one class only (a, 2 cases), so its AUC is not defined")
    assert not (tmp_path / "out" / "runs").exists()


def test_boxes_outside_the_image_and_of_unknown_images(medssl, tmp_path):
    folder = films(tmp_path / "own", BOTH, PARTS, ["mass: 20 12 60 30", *[""] * 7])
    refused(scanned(medssl, folder), "[20, 12] to [60, 30]", "shape is [40, 32]")
    folder = films(tmp_path / "nih", BOTH, PARTS)
    for name, x in (("film0.png", 30), ("stranger.png", 3)):
        rows = ["Image Index,Finding Label,Bbox [x,y,w,h],,,", f"{name},Mass,{x},3,20,9"]
        (folder / "BBox_List_2017.csv").write_text("\n".join(rows) + "\n")
        said = scanned(medssl, folder, "--boxes", folder / "BBox_List_2017.csv")
        refused(said, "[3.0, 30.0] to [12.0, 50.0]" if name == "film0.png" else "none of them was scanned")
    assert not (folder / "m.csv").exists()


def test_a_mask_of_another_grid_costs_itself_and_all_of_them_the_run(medssl, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        image = nibabel.Nifti1Image(rng.normal(100, 20, (20, 20, 20)).astype(np.float32), np.eye(4))
        nibabel.save(image, tmp_path / "images" / f"v{number}.nii.gz")
        mask = np.zeros((20, 20, 20) if number else (20, 20, 18), np.uint8)
        mask[5:9, 5:9, 5:9] = 1
        away = np.diag([1.0, 1, 1, 1])
        away[0, 3] = 30.0 * (number == 1)
        nibabel.save(nibabel.Nifti1Image(mask, away), tmp_path / "masks" / f"v{number}.nii.gz")
    words = ["--labels", tmp_path / "masks", "--modality", "MR", "--out", tmp_path / "m.csv"]
    said = medssl("scan", tmp_path / "images", *words)
    assert said.code == 0, said.err
    rejected = (tmp_path / "rejected.csv").read_text()
    assert 'v0.nii.gz,"label shape (18, 20, 20) differs from image (20, 20, 20)"' in rejected
    assert "v1.nii.gz,label lies elsewhere than its image" in rejected
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 1 + 2
    for number in (2, 3):
        (tmp_path / "images" / f"v{number}.nii.gz").unlink()
    refused(medssl("scan", tmp_path / "images", *words[:-1], tmp_path / "bad.csv"), "label")


def bench(folder, cache, **changes):
    """A recipe of one task, which learns the classes of films."""
    task = {"recipe": "classify_tiny_2d", "encoder": {"kind": "tiny", "channels": [4, 8]}}
    task |= {"augment": {"size": [32, 32], "preset": "xray"}, "train": {"steps": 1, "batch": 2}}
    task["data"] = {"cache": cache.removeprefix("data.cache=")}
    content = {"inits": {"scratch": "scratch"}, "tasks": {"t": task}, "fractions": [1], "seeds": [0]}
    if "task" in changes:
        content["tasks"]["again"] = {**task, "task": changes.pop("task")}
    (folder / "bench.yaml").write_text(json.dumps(content | changes))
    return folder / "bench.yaml"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fractions": [1, "n20"]}, "n20"),
        ({"task": {"kind": "classify", "classes": ["a", "c"]}}, "has class b, which is not among a, c"),
    ],
)
def test_a_benchmark_that_is_refused_keeps_its_finished_cells(medssl, tmp_path, change, words):
    """More labels asked for than any subset has, and labels outside the classes."""
    cache = prepared(medssl, films(tmp_path, BOTH, PARTS))
    said = medssl("benchmark", bench(tmp_path, cache), f"out={tmp_path / 'out'}", "device=cpu")
    assert said.code == 0, said.err
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    said = medssl("benchmark", bench(tmp_path, cache, **change), f"out={tmp_path / 'out'}", "resume=true", "device=cpu")
    refused(said, words)
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before
