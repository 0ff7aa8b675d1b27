from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from finetuning import CLASSIFY, SEGMENT, options, recipe

from medssl.data.phantom.cases import phantom_cache, write_ct_dataset
from medssl.data.read.volume import make, orient
from medssl.engine import checkpoint
from medssl.finetuning.loop import tune
from medssl.finetuning.predict import load, predict
from medssl.runtime.sources import sources
from medssl.types import InputError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    phantom_cache(folder / "cache", 4, (24, 24, 24), 0, "ct")
    tune(recipe(SEGMENT, data={"cache": str(folder / "cache")}, train={"steps": 1}), options(folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    write_ct_dataset(folder, 2, (24, 24, 24), 5)
    return folder / "images"


def world(path):
    """Where the corner voxels of a NIfTI lie, whatever the order they are stored in."""
    image = nibabel.load(path)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape])).reshape(3, -1).T
    return sorted(map(tuple, nibabel.affines.apply_affine(image.affine, corners).round(3)))


def test_masks_lie_on_the_source_grid(run, scans, tmp_path):
    left_out = predict(run, [scans], tmp_path / "masks", device="cpu")
    assert {name.rsplit("/")[-1] for name in left_out} == {"broken.nii.gz", "notes.txt"}
    for name in ("case_000", "case_001"):  # a NIfTI and a DICOM series
        label = scans.parent / "labels" / f"{name}.nii.gz"
        assert world(tmp_path / "masks" / f"{name}.nii.gz") == world(label)
    with (tmp_path / "masks" / "rejected.csv").open() as file:
        assert {row["source"].rsplit("/")[-1] for row in csv.DictReader(file)} == {"broken.nii.gz", "notes.txt"}


def test_a_mask_is_the_thresholded_image(run, scans, tmp_path, predict_bright):
    """A network that says 'bright is lesion' must give a mask that is the bright part, voxel by voxel."""
    predict_bright(run, 0.55)
    image = nibabel.load(scans / "case_000.nii.gz")
    predict(run, [scans / "case_000.nii.gz"], tmp_path / "masks", device="cpu")
    mask = nibabel.load(tmp_path / "masks" / "case_000.nii.gz")
    assert np.allclose(mask.affine, image.affine)
    expected = np.asarray(image.dataobj) > 100  # 0.55 of -1000..1000
    assert expected.any()
    inside = np.asarray(mask.dataobj) > 0
    assert (inside == expected).mean() > 0.999


def test_names_are_paths_below_what_was_given(scans, tmp_path):
    for name in ("a/scan", "b/scan", "c/scan_1"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(scans / "case_000.nii.gz", tmp_path / f"{name}.nii.gz")
    shutil.copytree(scans / "case_001", tmp_path / "d" / "dcm")
    found, rejected = sources([tmp_path, scans / "case_000.nii.gz"])
    assert sorted(source.name for source in found) == ["a/scan", "b/scan", "c/scan_1", "case_000", "d/dcm"]
    assert [source.name for source in sources([scans / "case_001"])[0]] == ["case_001"]
    assert rejected == {}


def test_what_is_no_file_is_named_and_never_opened(scans, tmp_path):
    shutil.copy(scans / "case_000.nii.gz", tmp_path / "scan.nii.gz")
    (tmp_path / "._scan.nii.gz").write_bytes(b"resource fork")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    os.symlink("/dev/zero", tmp_path / "zero.nii.gz")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.nii.gz")).write_bytes(b"latin-1")
    (tmp_path / "empty").mkdir()
    found, rejected = sources([tmp_path, tmp_path / "empty", tmp_path / "gone"])
    assert [source.name for source in found] == ["scan"]
    assert {Path(name).name: reason for name, reason in rejected.items()} == {
        "pipe.nii.gz": "not a file (a pipe, socket or device)",
        "zero.nii.gz": "link out of the folder (scan the folder that it points to)",
        "\\xe9.nii.gz": "name is not UTF-8 (rename the file or its folder)",
        "empty": "holds no file",
        "gone": "does not exist",
    }


def test_equal_names_of_several_inputs_are_told_apart(scans, tmp_path):
    for name in ("a/scan", "b/scan", "b/scan_1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(scans / "case_000.nii.gz", tmp_path / f"{name}.nii.gz")
    found, _ = sources([tmp_path / "a", tmp_path / "b"])
    assert sorted(source.name for source in found) == ["a/scan", "b/scan", "scan_1"]
    found, _ = sources([tmp_path / "a/scan.nii.gz", tmp_path / "b/scan.nii.gz"])
    assert sorted(source.name for source in found) == ["a/scan", "b/scan"]
    found, _ = sources([tmp_path / "b", tmp_path / "b/scan.nii.gz"])
    assert len({source.name for source in found}) == 3


def test_each_input_has_its_mask_a_table_says_whose_and_nothing_is_overwritten(run, scans, tmp_path):
    for name in ("p1/scan", "p2/scan", "p3/scan_1"):
        (tmp_path / "new" / name).parent.mkdir(parents=True)
        shutil.copy(scans / "case_000.nii.gz", tmp_path / "new" / f"{name}.nii.gz")
    predict(run, [tmp_path / "new"], tmp_path / "masks", device="cpu")
    masks = sorted(path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.gz"))
    assert masks == ["p1/scan.nii.gz", "p2/scan.nii.gz", "p3/scan_1.nii.gz"]
    with (tmp_path / "masks/sources.csv").open() as file:
        assert {row["id"]: row["source"] for row in csv.DictReader(file)} == {
            name.removesuffix(".nii.gz"): name for name in masks
        }
    before = {path: path.read_bytes() for path in (tmp_path / "masks").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="exists and is not overwritten"):
        predict(run, [tmp_path / "new"], tmp_path / "masks", device="cpu")
    assert {path: path.read_bytes() for path in (tmp_path / "masks").rglob("*") if path.is_file()} == before


def test_a_mask_of_a_picture_has_its_shape(tmp_path):
    from PIL import Image

    phantom_cache(tmp_path / "cache", 4, (32, 32), 0, "mr")
    data = {"cache": str(tmp_path / "cache")}
    flat = {"spatial_dims": 2, "augment": {"size": [16, 16], "preset": "mr"}}
    made = recipe(SEGMENT, **flat, data=data, train={"steps": 1})
    tune(made, options(tmp_path / "run"))
    picture = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in/film.png")
    flat = nibabel.Nifti1Image(picture.T[:, None].astype(np.int16), np.diag([2.0, 5.0, 3.0, 1.0]))
    nibabel.save(flat, tmp_path / "in/slice.nii.gz")
    predict(tmp_path / "run", [tmp_path / "in"], tmp_path / "out", device="cpu")
    assert np.asarray(Image.open(tmp_path / "out/film.png")).shape == (40, 30)
    mask = nibabel.load(tmp_path / "out/slice.nii.gz")
    assert mask.shape == (30, 1, 40)
    np.testing.assert_array_equal(mask.affine, flat.affine)


def test_only_bad_inputs_is_an_error(run, tmp_path):
    (tmp_path / "bad.nii.gz").write_text("no image")
    with pytest.raises(InputError, match=r"none of the inputs.*bad\.nii\.gz"):
        predict(run, [tmp_path / "bad.nii.gz"], tmp_path / "out", device="cpu")
    with pytest.raises(InputError, match="does not exist"):
        predict(run, [tmp_path / "nowhere"], tmp_path / "out", device="cpu")


def test_the_source_is_never_overwritten(run, scans, tmp_path):
    shutil.copy(scans / "case_000.nii.gz", tmp_path)
    before = (tmp_path / "case_000.nii.gz").read_bytes()
    with pytest.raises(InputError, match="replace the image"):
        predict(run, [tmp_path / "case_000.nii.gz"], tmp_path, device="cpu")
    assert (tmp_path / "case_000.nii.gz").read_bytes() == before


def test_a_pretraining_cannot_predict(run, tmp_path):
    content = checkpoint.load(run / "checkpoints" / "best.pt") | {"verb": "pretrain"}
    checkpoint.save(tmp_path / "x.pt", content)
    with pytest.raises(InputError, match="fine-tuned"):
        load(tmp_path / "x.pt")


def test_classes_come_with_probabilities(tmp_path):
    from PIL import Image

    phantom_cache(tmp_path / "cache", 4, (32, 32), 0, "xray")
    made = recipe(CLASSIFY, data={"cache": str(tmp_path / "cache")}, train={"steps": 1})
    tune(made, options(tmp_path / "run"))
    picture = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "film.png")
    predict(tmp_path / "run", [tmp_path / "film.png"], tmp_path / "out", device="cpu")
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["class"]) for row in rows] == [("film", "normal"), ("film", "opacity")]
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_orientation_of_the_check_itself():
    """The phantom's NIfTI is not stored in the order of the cache, so that the tests above mean something."""
    volume = make(np.zeros((1, 2, 3, 4)), np.diag([1.0, 1, 1, 1])[:, [2, 1, 0, 3]], "CT")
    assert orient(volume).array.shape == (1, 2, 3, 4)
