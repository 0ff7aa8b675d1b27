"""`predict` on real oblique DICOM series with one planted bright block: its corner in mm, in every file written."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from medssl.data.phantom.cases import phantom_cache
from medssl.finetuning.loop import tune
from medssl.finetuning.predict import predict
from medssl.recipe import FinetuneRecipe, Options, validate

DATA = Path(os.environ.get("MEDSSL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images in {DATA}")]
SERIES = "dicom/open/mr_philips_epi_oblique/dcm"  # three times 9 slices of 64x64, tilted by 13 degrees
SLICES, ROWS, COLUMNS = (3, 6), (20, 33), (30, 41)  # of the block, half-open, in the order of the series
TO_RAS = np.array([-1.0, -1.0, 1.0])
RECIPE = {
    "seed": 0,
    "spatial_dims": 3,
    "channels": 1,
    "encoder": {"kind": "tiny", "channels": [4, 8]},
    "decoder": {"kind": "unet", "norm": "group", "skips": "add", "convs": 1, "final": "shuffle"},
    "task": {"kind": "localize", "classes": ["lesion"]},
    "augment": {"size": [16, 16, 16], "preset": "mr"},
    "optimizers": {"main": {"kind": "adamw", "lr": 0.01}},
    "train": {"steps": 1, "batch": 2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    phantom_cache(folder / "cache", 4, (24, 24, 24), 0, "mr")
    data = {"cache": str(folder / "cache"), "train": "train", "val": "val", "test": "test"}
    made = validate(FinetuneRecipe, {**RECIPE, "data": data}, "recipe")
    tune(made, Options(out=str(folder / "run"), device="cpu"))
    return folder / "run"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A copy of the series, darkened, with a block at the top of its range; and the block's corners by DICOM's rule.

    C.7.6.2.1.1 of the standard: position + row direction * column spacing * column, and the same down the columns.
    """
    folder = tmp_path_factory.mktemp("scans") / "series"
    folder.mkdir()
    heads = [pydicom.dcmread(path) for path in sorted((DATA / SERIES).iterdir())]
    heads = [head for head in heads if head.TemporalPositionIdentifier == 1]
    across = np.cross(heads[0].ImageOrientationPatient[:3], heads[0].ImageOrientationPatient[3:])
    heads.sort(key=lambda head: float(np.dot(across, head.ImagePositionPatient)))
    corners = []
    for number, head in enumerate(heads):
        pixels = head.pixel_array // 4
        if SLICES[0] <= number < SLICES[1]:
            pixels[slice(*ROWS), slice(*COLUMNS)] = 4000
        head.PixelData = pixels.astype("<u2").tobytes()
        head.save_as(folder / f"{number:03d}.dcm")
        if number in (SLICES[0], SLICES[1] - 1):
            corners += [
                _mm(head, row, column) for row in (ROWS[0], ROWS[1] - 1) for column in (COLUMNS[0], COLUMNS[1] - 1)
            ]
    return folder, np.array(corners)


def _mm(head, row, column):
    """Where the centre of a pixel lies: R, A, S in mm."""
    along, down = np.reshape(np.array(head.ImageOrientationPatient, float), (2, 3))
    between_rows, between_columns = map(float, head.PixelSpacing)
    return TO_RAS * (
        np.array(head.ImagePositionPatient, float) + along * between_columns * column + down * between_rows * row
    )


@pytest.fixture
def bright(run, predict_bright):
    """A network that finds what is brighter than .8 of the range."""
    predict_bright(run, 0.8)


def box_corners(matrix, inside):
    """Of all corners of the box around true voxels, in mm."""
    index = np.argwhere(inside)
    ends = zip(index.min(0), index.max(0), strict=True)
    every = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    return every @ matrix[:3, :3].T + matrix[:3, 3]


def same_points(ones, others, atol=0.05):
    """Two sets of points, in any order."""
    between = np.linalg.norm(np.asarray(ones)[:, None] - np.asarray(others)[None], axis=-1)
    return bool((between.min(0) < atol).all() and (between.min(1) < atol).all())


def test_the_corner_is_in_the_table_and_the_mask(run, planted, bright, tmp_path):
    series, corners = planted
    predict(run, [series], tmp_path / "out", device="cpu")
    with (tmp_path / "out" / "candidates.csv").open() as file:
        (line,) = csv.DictReader(file)
    told = np.array([[float(v) for v in line[key].split()] for key in ("first_mm", "last_mm")])
    distance = np.linalg.norm(corners[:, None] - told[None], axis=-1)
    assert (distance.min(0) < 0.11).all(), "the table has a tenth of a millimetre"
    assert distance.argmin(0)[0] != distance.argmin(0)[1]
    mask = nibabel.load(tmp_path / "out" / "series.nii.gz")
    inside = np.asarray(mask.dataobj) == 1
    assert inside.sum() == np.prod([stop - start for start, stop in (SLICES, ROWS, COLUMNS)])
    assert same_points(box_corners(mask.affine, inside), corners)


def test_the_corner_is_in_dicom_seg(run, planted, bright, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="medssl[seg] is not installed")
    series, corners = planted
    predict(run, [series], tmp_path / "out", device="cpu", seg=True)
    seg = highdicom.seg.segread(tmp_path / "out" / "series.seg.dcm")
    volume = seg.get_volume(segment_numbers=[1], combine_segments=True)
    found = box_corners(np.diag([*TO_RAS, 1]) @ volume.affine, np.asarray(volume.array) > 0)
    assert same_points(found, corners)
