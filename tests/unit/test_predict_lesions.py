"""What predict writes of lesions: the corner of a planted bright block, in voxels and mm, in every file."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from finetuning import CLASSIFY, SEGMENT, options, recipe
from PIL import Image

from medssl.data.phantom.cases import phantom_cache
from medssl.data.phantom.files import affine, write_series
from medssl.finetuning.loop import tune
from medssl.finetuning.predict import load, predict
from medssl.types import InputError

BLOCK = (slice(6, 10), slice(11, 16), slice(5, 12))  # z, y, x toward S, A, R


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    phantom_cache(folder / "cache", 4, (24, 24, 24), 0, "ct")
    task = {"kind": "localize", "classes": ["lesion"]}
    tune(recipe(SEGMENT, data={"cache": str(folder / "cache")}, task=task, train={"steps": 1}), options(folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def oblique(tmp_path_factory):
    """A DICOM series of slices that are tilted by 17 degrees, with one block of bone in water."""
    folder, place = tmp_path_factory.mktemp("scans"), affine((20, 24, 24), 17.0)
    array = np.full((20, 24, 24), 0, np.int16)
    array += np.random.default_rng(0).integers(-5, 6, array.shape).astype(np.int16)
    array[BLOCK] = 900
    write_series(folder / "series", array, place, "TEST-1", 0)
    return folder / "series", place


@pytest.fixture
def bright(run, predict_bright):
    """A network that finds what is brighter than 600 HU."""
    predict_bright(run, 0.8)


def corners(place):
    """Where the first and the last voxel of the block lie (R, A, S mm), whatever the order of voxels in a file."""
    ends = np.array([[part.start, part.stop - 1] for part in BLOCK]).T
    return {tuple(np.round((place @ [*index, 1])[:3], 1)) for index in ends}


def box_corners(matrix, inside):
    """Of all corners of the box around true voxels, in mm."""
    index = np.argwhere(inside)
    low, high = index.min(0), index.max(0)
    every = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3)
    return {tuple(np.round((matrix @ [*one, 1])[:3], 1)) for one in every}


def near(one, others):
    return any(np.allclose(one, other, atol=0.11) for other in others)


def test_the_corner_of_a_block_is_found_in_the_table_and_the_mask(run, oblique, bright, tmp_path):
    series, place = oblique
    predict(run, [series], tmp_path / "out", device="cpu")
    with (tmp_path / "out" / "candidates.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["id"], line["class"], line["reported"], line["number"]) == ("series", "lesion", "yes", "1")
    told = {tuple(float(v) for v in line[key].split()) for key in ("first_mm", "last_mm")}
    mask = nibabel.load(tmp_path / "out" / "series.nii.gz")
    in_mask = box_corners(mask.affine, np.asarray(mask.dataobj) == 1)
    assert all(near(one, in_mask) for one in told)
    assert all(near(one, in_mask) for one in corners(place))
    sides = [abs(float(b) - float(a)) for a, b in zip(line["start"].split(), line["stop"].split(), strict=True)]
    assert sorted(sides) == [4, 5, 7]
    first = sorted(path for path in series.iterdir())[round(float(line["start"].split()[0]))]
    head = pydicom.dcmread(first)  # the table counts slices and voxels as the series has them
    row, column = (round(float(v)) for v in line["start"].split()[1:])
    assert head.pixel_array[row, column] > 1800
    assert head.pixel_array[row - 1, column] < 1200
    picture = np.asarray(Image.open(tmp_path / "out" / "series.overlay.png"))
    assert (picture == (255, 200, 0)).all(-1).any()


def test_the_corner_is_in_dicom_seg_too(run, oblique, bright, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="medssl[seg] is not installed")
    series, place = oblique
    predict(run, [series], tmp_path / "out", device="cpu", seg=True)
    seg = highdicom.seg.segread(tmp_path / "out" / "series.seg.dcm")
    volume = seg.get_volume(segment_numbers=[1], combine_segments=True)
    lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    found = box_corners(lps, np.asarray(volume.array) > 0)
    assert all(near(one, found) for one in corners(place))
    assert seg.PatientID == "TEST-1"


def test_seg_without_its_library_says_what_to_install(run, oblique, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(InputError, match=r"pip install 'medssl\[seg\]'"):
        predict(run, [oblique[0]], tmp_path / "out", device="cpu", seg=True)


def test_nothing_found_is_a_table_without_lines(run, oblique, monkeypatch, tmp_path):
    trained = load(run)

    class Nothing(type(trained.model)):
        def forward(self, x):
            return torch.cat([x * 0 + 40, x * 0 - 40], dim=1)

    trained.model.__class__ = Nothing
    monkeypatch.setattr("medssl.finetuning.predict.load", lambda _: trained)
    predict(run, [oblique[0]], tmp_path / "out", device="cpu")
    assert len((tmp_path / "out" / "candidates.csv").read_text().splitlines()) == 1
    assert not np.asarray(nibabel.load(tmp_path / "out" / "series.nii.gz").dataobj).any()
    with pytest.raises(InputError, match="exists and is not overwritten"):
        predict(run, [oblique[0]], tmp_path / "out", device="cpu")


def test_a_classifier_that_locates_writes_classes_and_boxes(tmp_path):
    phantom_cache(tmp_path / "cache", 6, (32, 32), 0, "xray")
    task = {"kind": "localize", "from": "classes", "cut": 0.5}
    tune(recipe(CLASSIFY, data={"cache": str(tmp_path / "cache")}, task=task), options(tmp_path / "run"))
    image = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "film.png")
    predict(tmp_path / "run", [tmp_path / "film.png"], tmp_path / "out", device="cpu")
    with (tmp_path / "out" / "predictions.csv").open() as file:
        classes = {line["class"]: float(line["probability"]) for line in csv.DictReader(file)}
    assert sum(classes.values()) == pytest.approx(1, abs=1e-4)
    with (tmp_path / "out" / "candidates.csv").open() as file:
        for line in csv.DictReader(file):
            assert line["class"] == "opacity"
            assert all(0 <= float(a) < float(b) <= n for a, b, n in zip(
                line["start"].split(), line["stop"].split(), image.shape, strict=True
            ))  # fmt: skip
    assert Image.open(tmp_path / "out" / "film.png").size == (50, 40)
