"""Every format of boxes by one box whose corner voxel is known, up to the array that a network sees."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from medssl.data.boxes import reading, vindr
from medssl.data.boxes.form import Mark, Point
from medssl.data.cache import Cache
from medssl.data.manifest import read as read_manifest
from medssl.data.prepare import prepare
from medssl.data.scan.scan import scan
from medssl.types import InputError

BRIGHT = (slice(20, 31), slice(12, 18))  # rows 20 to 30, columns 12 to 17


def film(path, mark=True, size=(64, 48)):
    """A film that is bright where the box is."""
    rng = np.random.default_rng(len(path.name))
    image = rng.integers(20, 120, size).astype(np.uint8)
    if mark:
        image[BRIGHT] = 250
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(image).save(path)


FILES = {
    "rsna": (
        "stage_2.csv",
        "patientId,x,y,width,height,Target\na,12.0,20.0,6.0,11.0,1\nb,,,,,0\nelsewhere,1,1,2,2,1\n",
        "opacity",
        "none",
    ),
    "nih": (
        "BBox_List.csv",
        'Image Index,Finding Label,"Bbox [x",y,w,h],,,\na.png,Infiltrate,12.0,20.0,6.0,11.0,,,\n',
        "Infiltration",
        "",
    ),
    "vindr": (
        "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "a,Mass,8,R1,11,19,18,31\na,Mass,8,R2,13,21,18,31\na,Mass,8,R3,1,1,4,4\n"
        "b,No finding,14,R1,,,,\nb,No finding,14,R2,,,,\n",
        "Mass",
        "none",
    ),
    "coco": (
        "coco.json",
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "x/a.png"}, {"id": 2, "file_name": "b.png"}],
                "categories": [{"id": 3, "name": "Mass"}],
                "annotations": [
                    {"image_id": 1, "category_id": 3, "bbox": [12, 20, 6, 11], "iscrowd": 0},
                    {"image_id": 1, "category_id": 3, "bbox": [0, 0, 5, 5], "iscrowd": 1},
                ],
            }
        ),
        "Mass",
        "none",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_boxes_of_films_lie_on_what_they_mark(kind, tmp_path):
    name, text, label, other = FILES[kind]
    film(tmp_path / "images" / "a.png")
    film(tmp_path / "images" / "b.png", mark=False)
    (tmp_path / name).write_text(text)
    found = scan([tmp_path / "images"], tmp_path / "m.csv", boxes=tmp_path / name, modality="DX")
    rows = {row.image.split("/")[-1]: row for row in read_manifest(tmp_path / "m.csv").rows}
    assert {one: row.looked for one, row in rows.items()} == {"a.png": "boxes", "b.png": other}
    assert any(f"was read as {kind}" in notice for notice in found.notices)
    cache = prepare(tmp_path / "m.csv", tmp_path / "cache", preset="xray")
    case = cache.cases[rows["a.png"].id]
    (box, *crowds) = sorted(case.boxes, key=lambda one: one.ignore)
    assert (box.label, box.ignore, [one.ignore for one in crowds]) == (label, False, [True] * len(crowds))
    window = tuple(slice(round(a), round(b)) for a, b in zip(box.start, box.stop, strict=True))
    image = cache.image(case.id)[:][0]
    if kind == "vindr":  # the mean of the two readers who agree
        assert (box.start, box.stop) == ((20, 12), (31, 18))
    assert (image[window] > 240).all()
    assert (image > 240).sum() == 11 * 6
    assert Cache(tmp_path / "cache").cases[rows["b.png"].id].looked == other


def volume(path, affine, shape=(20, 24, 18)):
    """A volume as NIfTI stores it (x,y,z), bright in the voxels [4:7, 10:14, 6:11]."""
    rng = np.random.default_rng(0)
    array = rng.integers(100, 400, shape).astype(np.int16)
    array[4:7, 10:14, 6:11] = 2000
    path.parent.mkdir(exist_ok=True, parents=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return array


def turned(degrees, flips=(1, 1, 1), spacing=(0.8, 0.9, 2.0)):
    """An affine that is turned about the first axis, with some axes counted backwards."""
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(flips) * np.array(spacing)
    affine[:3, 3] = (-30.0, 12.0, 7.0)
    return affine


@pytest.mark.parametrize("affine", [turned(0), turned(12), turned(0, (-1, 1, -1)), turned(-9, (-1, -1, 1))])
def test_points_in_mm_lie_on_the_voxel_they_mean(affine, tmp_path):
    """LUNA16 counts mm toward Left and Posterior; whatever way the volume lies, the centre is the bright block's."""
    volume(tmp_path / "images" / "1.2.3.nii.gz", affine)
    centre = affine @ [5, 11.5, 8, 1]
    x, y, z = -centre[0], -centre[1], centre[2]
    lines = f"seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,{x},{y},{z},4.0\n"
    (tmp_path / "annotations.csv").write_text(lines)
    (tmp_path / "annotations_excluded.csv").write_text(lines.replace(",4.0\n", ",-1\n"))
    scan([tmp_path / "images"], tmp_path / "m.csv", boxes=tmp_path / "annotations.csv", modality="MR")
    cache = prepare(tmp_path / "m.csv", tmp_path / "cache", preset="mr")
    (case,) = cache.cases.values()
    box, excluded = case.boxes
    assert (box.label, box.ignore, box.diameter_mm) == ("nodule", False, 4.0)
    assert (excluded.ignore, excluded.diameter_mm) == (True, 10.0)
    bright = np.argwhere(cache.image(case.id)[:][0] == 2000)
    middle = (np.array(box.start) + box.stop - 1) / 2
    np.testing.assert_allclose(middle, bright.mean(0), atol=0.02)
    sides = (np.array(box.stop) - box.start) * case.spacing
    np.testing.assert_allclose(sides, 4.0, atol=0.01)


@pytest.mark.parametrize("affine", [turned(12), turned(0, (-1, 1, -1))])
def test_instances_of_nndetection_become_boxes(affine, tmp_path):
    array = volume(tmp_path / "imagesTr" / "case_1_0000.nii.gz", affine)
    (tmp_path / "imagesTr" / "case_1_0000.nii.gz").rename(tmp_path / "imagesTr" / "case_1.nii.gz")
    labels = tmp_path / "labelsTr"
    labels.mkdir()
    nibabel.save(nibabel.Nifti1Image((array == 2000).astype(np.uint8), affine), labels / "case_1.nii.gz")
    (labels / "case_1.json").write_text(json.dumps({"instances": {"1": 0}}))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "lesion"}}))
    scan([tmp_path / "imagesTr"], tmp_path / "m.csv", boxes=labels, modality="MR")
    cache = prepare(tmp_path / "m.csv", tmp_path / "cache", preset="mr")
    (case,) = cache.cases.values()
    (box,) = case.boxes
    bright = np.argwhere(cache.image(case.id)[:][0] == 2000)
    assert box.label == "lesion"
    np.testing.assert_allclose(box.start, bright.min(0), atol=0.01)
    np.testing.assert_allclose(box.stop, bright.max(0) + 1, atol=0.01)


def test_a_table_tells_boxes_none_and_what_to_ignore(tmp_path):
    for name in ("a", "b", "c"):
        film(tmp_path / "images" / f"{name}.png", mark=name == "a")
    (tmp_path / "t.csv").write_text(
        'id,boxes\na,"mass: 20 12 30.5 18; ignore: mass: 1 1 4 4; ignore: 50 5 55 9"\nb,none\nc,\n'
    )
    scan([tmp_path / "images"], tmp_path / "m.csv", table=tmp_path / "t.csv", modality="DX")
    rows = {row.image[-5:]: row for row in read_manifest(tmp_path / "m.csv").rows}
    assert {name: row.looked for name, row in rows.items()} == {"a.png": "boxes", "b.png": "none", "c.png": ""}
    cases = prepare(tmp_path / "m.csv", tmp_path / "cache", preset="xray").cases
    assert [(box.label, box.ignore) for box in cases[rows["a.png"].id].boxes] == [
        ("mass", False),
        ("mass", True),
        ("", True),
    ]


def test_a_manifest_of_before_has_nobody_who_looked(tmp_path):
    film(tmp_path / "images" / "a.png")
    scan([tmp_path / "images"], tmp_path / "m.csv", modality="DX")
    lines = (tmp_path / "m.csv").read_text().splitlines()
    (tmp_path / "m.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    assert [row.looked for row in read_manifest(tmp_path / "m.csv").rows] == [""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "patientId,x,y,width,height,Target\na,40,20,20,11,1\n",
            r"\[20.0, 40.0\] to .* for a.png.*\[64, 48\]",
        ),
        ("patientId,x,y,width,height,Target\nz,1,1,2,2,1\n", "lists 1 images, such as z, and none of them was scanned"),
        ("patientId,x,y,width,height,Target\na,1,1,wide,2,1\n", "a box of a is 1, 1, wide, 2, which are not numbers"),
        ("some,thing\n1,2\n", "no known header"),
        ("seriesuid,coordX,coordY,coordZ,diameter_mm\na,1,2,3,4\n", "3D"),
    ],
)
def test_boxes_that_do_not_fit_are_refused_and_nothing_is_written(text, said, tmp_path):
    film(tmp_path / "images" / "a.png")
    (tmp_path / "b.csv").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=said):
        scan([tmp_path / "images"], tmp_path / "out" / "m.csv", boxes=tmp_path / "b.csv")
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []


@pytest.mark.parametrize("kind", ["rsna", "nih", "vindr"])
def test_a_list_in_another_encoding_is_one_sentence(kind, tmp_path):
    name, text, *_ = FILES[kind]
    (tmp_path / name).write_bytes(text.encode() + "é,".encode("latin-1"))
    with pytest.raises(InputError, match=r"--boxes .* cannot be read as text"):
        reading.read(tmp_path / name, None)


def test_a_bad_list_is_refused_before_any_image_is_read(tmp_path, monkeypatch):
    film(tmp_path / "images" / "a.png")
    (tmp_path / "b.csv").write_text("no,known,header\n")
    monkeypatch.setattr("medssl.data.scan.candidate.look", lambda *_: pytest.fail("images were read"))
    with pytest.raises(InputError, match="no known header"):
        scan([tmp_path / "images"], tmp_path / "m.csv", boxes=tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("cell", "looked"), [("None", "none"), (" NONE ", "none"), ("none;", "none"), ("", ""), (";", "")]
)
def test_none_means_searched_however_it_is_written(cell, looked, tmp_path):
    film(tmp_path / "images" / "a.png")
    (tmp_path / "t.csv").write_text(f"id,boxes\na,{cell}\n")
    (row,) = scan([tmp_path / "images"], tmp_path / "m.csv", table=tmp_path / "t.csv").rows
    assert row.looked == looked


def test_the_format_that_is_asked_for_must_fit(tmp_path):
    (tmp_path / "b.csv").write_text(FILES["rsna"][1])
    with pytest.raises(InputError, match="is not of the format coco"):
        reading.read(tmp_path / "b.csv", "coco")
    with pytest.raises(InputError, match="there is no file"):
        reading.read(tmp_path / "gone.csv", None)


def test_readers_must_agree_and_one_reader_agrees_with_nobody_by_himself():
    drawn = (((0, 0), "1"), ((1, 0), "1"), ((0, 1), "2"))
    one, same, far = (Mark("m", start, (9, 9), reader) for start, reader in drawn)
    assert vindr.agreed([one, same], 2) == []
    (found,) = vindr.agreed([one, same, far], 2)
    assert (found.start, found.stop, found.reader) == ((0, 0.5), (9, 9), "1;2")
    assert len(vindr.agreed([one, far], 1)) == 1


def test_a_ball_may_reach_beyond_the_image_but_its_middle_lies_in_it():
    affine = np.eye(4)
    (box,) = reading.placed([Point("n", (-1.0, -1.0, 1.0), 6.0)], (10, 10, 10), affine, "x")
    assert (box.start, box.stop) == ((0, 0, 0), (4.5, 4.5, 4.5))
    with pytest.raises(InputError, match="for x"):
        reading.placed([Point("n", (30.0, 0.0, 0.0), 6.0)], (10, 10, 10), affine, "x")
