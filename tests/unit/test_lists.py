"""Lists of other tools as tables of a scan, and the decathlon's list of a conversion."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from medssl.data.convert import convert
from medssl.data.scan.scan import scan
from medssl.types import InputError

RNG = np.random.default_rng(0)


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(RNG.integers(-900, 900, (6, 7, 8)).astype(np.int16), np.eye(4)), path)


def mask(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.zeros((6, 7, 8), np.uint8)
    label[2:4, 2:4, 2:4] = 1
    nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), path)


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def run(tmp_path, table, **options):
    return scan([tmp_path / "in"], tmp_path / "out/m.csv", table=table, id_column="id", columns={}, **options)


def decathlon(tmp_path):
    for name in ("a", "b", "c"):
        image(tmp_path / f"in/imagesTr/{name}.nii.gz")
        mask(tmp_path / f"in/labelsTr/{name}.nii.gz")
    image(tmp_path / "in/imagesTs/d.nii.gz")
    entries = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in "abc"]
    content = {
        "modality": {"0": "CT"},
        "training": entries[:2],
        "validation": entries[2:],
        "test": ["./imagesTs/d.nii.gz"],
    }
    return write(tmp_path / "in/dataset.json", content)


def test_a_decathlon_list_gives_labels_splits_and_modality(tmp_path):
    found = run(tmp_path, decathlon(tmp_path))
    assert [row.split for row in found.rows] == ["train", "train", "val", "test"]
    assert [bool(row.label) for row in found.rows] == [True, True, True, False]
    assert {row.modality for row in found.rows} == {"CT"}


def test_convert_writes_a_list_that_scan_reads(tmp_path):
    first = run(tmp_path, decathlon(tmp_path))
    convert(tmp_path / "out/m.csv", tmp_path / "copy")
    again = scan([tmp_path / "copy"], tmp_path / "o/m.csv", table=tmp_path / "copy/dataset.json", id_column="id")
    known = {row.id: (row.split, bool(row.label), row.modality) for row in first.rows}
    copied = {row.source[: -len(".nii.gz")]: (row.split, bool(row.label), row.modality) for row in again.rows}
    assert copied == known


def test_nnunet_cases_are_patients_with_the_first_fold(tmp_path):
    for case in ("p1", "p2"):
        mask(tmp_path / f"in/labelsTr/{case}.nii.gz")
        for channel in ("0000", "0001"):
            image(tmp_path / f"in/imagesTr/{case}_{channel}.nii.gz")
    image(tmp_path / "in/imagesTs/p3_0000.nii.gz")
    table = write(tmp_path / "in/dataset.json", {"channel_names": {"0": "T1", "1": "FLAIR"}, "file_ending": ".nii.gz"})
    write(tmp_path / "in/splits_final.json", [{"train": ["p1"], "val": ["p2"]}])
    found = run(tmp_path, table)
    assert [row.split for row in found.rows] == ["train", "train", "val", "val", "test"]
    assert len({row.patient for row in found.rows}) == 3
    assert [row.label.rpartition("/")[2] for row in found.rows[:4]] == ["p1.nii.gz"] * 2 + ["p2.nii.gz"] * 2
    assert {row.modality for row in found.rows} == {"MR"}


def test_nnssl_subjects_are_patients(tmp_path):
    for name in ("s1/a", "s1/b", "s2/a"):
        image(tmp_path / f"in/{name}.nii.gz")
    shown = {
        subject: {
            "sessions": {"x": {"images": [{"image_path": f"$nnssl_raw/{p}.nii.gz", "modality": "T1w"} for p in paths]}}
        }
        for subject, paths in {"s1": ["s1/a", "s1/b"], "s2": ["s2/a"]}.items()
    }
    found = run(tmp_path, write(tmp_path / "in/pretrain_data.json", {"datasets": {"D1": {"subjects": shown}}}))
    patients = [row.patient for row in found.rows]
    assert patients[0] == patients[1] != patients[2]
    assert {row.modality for row in found.rows} == {"MR"}


def test_bids_participants_give_their_facts_to_all_images(tmp_path):
    for name in ("sub-01/anat/sub-01_T1w", "sub-01/anat/sub-01_FLAIR", "sub-02/anat/sub-02_T1w"):
        image(tmp_path / f"in/{name}.nii.gz")
    (tmp_path / "in/participants.tsv").write_text(
        "participant_id\tage\tsex\tgroup\nsub-01\t30\tF\tcase\nsub-02\tn/a\tM\tcontrol\n"
    )
    found = scan(
        [tmp_path / "in"],
        tmp_path / "out/m.csv",
        table=tmp_path / "in/participants.tsv",
        id_column="id",
        columns={"class": "group"},
    )
    assert [row.classes for row in found.rows] == [("case",), ("case",), ("control",)]
    assert "30" in (tmp_path / "out/m.table.csv").read_text()


def test_folders_are_classes(tmp_path):
    for name in ("train/cat/a", "train/dog/b", "val/dog/c"):
        path = tmp_path / f"in/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (9, 9)).astype(np.uint8)).save(path)
    found = run(tmp_path, tmp_path / "in")
    assert [(row.classes, row.split) for row in found.rows] == [
        (("cat",), "train"),
        (("dog",), "train"),
        (("dog",), "val"),
    ]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"training": [{"label": "x"}]}'])
def test_other_json_is_refused(tmp_path, content):
    image(tmp_path / "in/a.nii.gz")
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=r"x\.json"):
        run(tmp_path, tmp_path / "x.json")
