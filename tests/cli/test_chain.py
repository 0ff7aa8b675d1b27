"""The chain a user types, from files to a report: the law of each verb, and that nobody's name travels along it."""

from __future__ import annotations

import base64
import csv
import json
import re

import nibabel
import numpy as np
import pytest
import yaml
from conftest import FINETUNE, PRETRAIN
from PIL import Image
from safetensors.torch import load_file

from medssl.build import parts
from medssl.data.read import dicom
from medssl.engine import checkpoint
from medssl.recipe import load

RUN = {"recipe.yaml", "manifest.lock", "start.json", "metrics.jsonl", "train.log", "tb", "checkpoints", "report.html"}
NAMES = [b"Phantom^Made", b"Made up", b"PHANTOM-0-", b"20000101", b"phantom abdomen"]  # of the DICOM headers
DATA_FILES = {"manifest.csv", "manifest.json", "manifest.files.jsonl", "manifest.key", "rejected.csv"}


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("verb", ["scan", "prepare", "preview", "pretrain", "finetune", "predict", "report", "export"])
def test_every_verb_ends_well_and_is_quiet_beside_a_terminal(chain, verb):
    code, out, err = chain.said[verb]
    assert (code, err) == (0, "")
    assert "\x1b" not in out


def test_scan_finds_every_image_once_and_says_why_a_file_is_left_out(chain):
    found = rows(chain.root / "manifest.csv")
    assert len(found) == len({row["id"] for row in found}) == len({row["patient"] for row in found}) == 6
    assert all(row["label"].startswith("labels/case_00") for row in found)
    assert {row["split"] for row in found} == {"train", "val", "test"}
    left = {row["source"]: row["reason"] for row in rows(chain.root / "rejected.csv")}
    assert left == {"images/broken.nii.gz": "cannot be read", "images/notes.txt": "not an image"}
    assert (chain.root / "manifest.key").stat().st_mode & 0o777 == 0o600


def test_prepare_keeps_each_row_with_its_split_and_label(chain):
    from medssl.data.cache import Cache

    cache, found = Cache(chain.cache), {row["id"]: row for row in rows(chain.root / "manifest.csv")}
    assert set(cache.ids) == set(found)
    for case in cache.cases.values():
        assert case.split == found[case.id]["split"]
        assert case.has_label
        assert cache.image(case.id).shape[1:] == cache.label(case.id).shape[1:] == case.shape


def test_preview_draws_a_picture(chain):
    picture = np.asarray(Image.open(chain.root / "views.png").convert("L"))
    assert min(picture.shape) > 300
    assert picture.std() > 10


def test_a_pretraining_leaves_exactly_what_is_promised(chain):
    assert {path.name for path in chain.pretrained.iterdir()} - {"figures"} == RUN
    steps = {path.name for path in (chain.pretrained / "checkpoints").iterdir()}
    assert steps == {"last.pt", "step_2.pt", "step_4.pt", "step_6.pt"}  # checkpoint_every 0.25 of 6 steps, and the end
    metrics = lines(chain.pretrained / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert [line["samples"] for line in metrics] == [2, 4, 6, 8, 10, 12]
    stages = [{name.removeprefix("loss.") for name in line if name.startswith("loss.")} for line in metrics]
    assert "restoration" not in stages[1]
    assert {"discrimination", "restoration", "adversarial", "discriminator"} <= stages[5]
    recipe = yaml.safe_load((chain.pretrained / "recipe.yaml").read_text())
    assert (recipe["train"]["steps"], recipe["method"]["kind"], recipe["train"]["precision"]) == (6, "adco", "32")
    assert recipe["restore"]["warmup"] == 0, "defaults of the kinds are filled in"
    lock = json.loads((chain.pretrained / "manifest.lock").read_text())
    assert (lock["cases"], lock["patients"]) == (6, 6)


def test_a_resolved_recipe_is_a_recipe_and_nothing_is_left_to_fill(chain):
    written = chain.pretrained / "recipe.yaml"
    recipe, _ = load("pretrain", str(written), [])
    parts.validate(recipe)
    assert parts.resolved(recipe) == yaml.safe_load(written.read_text())


def test_a_finetuning_says_what_it_took_and_whom_it_tested(chain):
    assert {path.name for path in chain.segmented.iterdir()} - {"figures"} == RUN | {"results.json"}
    assert {path.name for path in (chain.segmented / "checkpoints").iterdir()} == {"best.pt", "last.pt"}
    results = json.loads((chain.segmented / "results.json").read_text())
    assert results["test"]["cases"] == sum(row["split"] == "test" for row in rows(chain.root / "manifest.csv"))
    assert 0 <= results["test"]["dice"] <= 1
    assert results["overlap"]["patients"] == [], "pretraining leaves the test split alone"
    assert results["overlap"]["sentence"] in chain.said["finetune"].out
    assert "loaded" in chain.said["finetune"].out
    assert "left out: method" in chain.said["finetune"].out


def test_a_test_patient_that_was_pretrained_on_is_told(chain, medssl, tmp_path):
    medssl("pretrain", *PRETRAIN, *chain.data, "data.train=test", f"out={tmp_path / 'seen'}")
    said = medssl("finetune", *FINETUNE, *chain.data, f"init={tmp_path / 'seen'}", f"out={tmp_path / 'run'}")
    assert re.search(r"(\d+) of \1 test patients were in the training data of the initial weights", said.out)
    assert "were in the training data of the initial weights" in (tmp_path / "run" / "report.html").read_text()


def test_masks_lie_on_the_grid_of_their_source(chain):
    source = nibabel.load(chain.scans / "images" / "case_000.nii.gz")
    mask = nibabel.load(chain.root / "masks" / "case_000.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-4)
    assert np.asarray(mask.dataobj).dtype.kind == "u"
    series = dicom.read(sorted((chain.scans / "images" / "case_003").glob("*.dcm")))  # an oblique one
    mask = nibabel.load(chain.root / "masks" / "case_003.nii.gz")
    ours, theirs = corners(mask.affine, mask.shape), corners(series.affine, series.array.shape[1:])
    assert all(np.linalg.norm(theirs - point, axis=1).min() < 0.01 for point in ours)


def corners(affine, shape):
    """The eight corners in RAS mm, whatever the order of the axes."""
    index = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    return (index @ np.asarray(affine).T)[:, :3]


def test_a_report_is_one_file_that_asks_for_nothing(chain):
    for page in (chain.root / "report.html", chain.pretrained / "report.html", chain.segmented / "report.html"):
        text = page.read_text()
        assert not re.search(r"https?://|//cdn|@import|<script|<link", text)
        sources = re.findall(r"<img[^>]*src=\"([^\"]{0,40})", text)
        assert sources
        assert all(source.startswith(("data:image/png;base64,", "data:image/svg+xml")) for source in sources)
        assert re.findall(r"(?:href|src)=\"(?!data:)", text) == []
    pages = re.findall(r"base64,([^\"]+)", (chain.root / "report.html").read_text())
    assert all(base64.b64decode(page).startswith((b"\x89PNG", b"<?xml", b"<svg")) for page in pages)


def test_an_export_holds_the_weights_of_the_run(chain):
    weights = checkpoint.load(chain.pretrained / "checkpoints" / "last.pt")["weights"]
    for part in ("encoder", "decoder"):
        exported = load_file(chain.root / "exported" / f"{part}.safetensors")
        wanted = {name.removeprefix(f"{part}."): t for name, t in weights.items() if name.startswith(f"{part}.")}
        assert exported.keys() == wanted.keys()
        assert all((exported[name] == wanted[name]).all() for name in wanted)


def test_no_name_and_no_path_leaves_the_data(chain):
    paths = [str(chain.scans).encode(), *(f"case_00{i}".encode() for i in range(6))]
    searched = 0
    for place in ("cache", "runs", "report.html", "exported", "views.png", "masks"):
        top = chain.root / place
        for file in [path for path in top.rglob("*") if path.is_file()] if top.is_dir() else [top]:
            content = file.read_bytes()
            searched += 1
            for name in NAMES:
                assert name not in content, f"{file} holds {name!r}"
            for path in paths[:1] if file.name == "sources.csv" else paths:  # it says whose each mask is
                assert path not in content, f"{file} holds the path {path!r}"
    assert searched > 30
    for file in DATA_FILES:
        content = (chain.root / file).read_bytes()
        # the file list keeps series descriptions beside paths, for `prepare --description`: it stays with the data
        names = NAMES[:-1] if file == "manifest.files.jsonl" else NAMES
        assert not any(name in content for name in names), file
    pages = [chain.root / "report.html", chain.pretrained / "report.html", chain.segmented / "report.html"]
    assert not any(str(chain.root) in page.read_text() for page in pages)


def test_a_run_that_is_complete_says_so_and_stays_as_it_is(chain, medssl):
    before = (chain.pretrained / "metrics.jsonl").read_bytes()
    said = medssl("pretrain", *PRETRAIN, *chain.data, f"out={chain.pretrained}", "resume=true")
    assert said.code == 0
    assert "already complete" in said.out
    assert (chain.pretrained / "metrics.jsonl").read_bytes() == before
