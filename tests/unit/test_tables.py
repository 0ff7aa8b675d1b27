"""Tables as people have them: separators, encodings, classes in one cell, paths of other computers, splits."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image

from medssl.data import manifest
from medssl.data.prepare import prepare
from medssl.data.scan import spreadsheet, table
from medssl.data.scan.scan import scan
from medssl.types import InputError
from medssl.verbs.data import _pairs

RNG = np.random.default_rng(0)


def pictures(tmp_path, *names):
    for name in names:
        path = tmp_path / f"in/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (20, 24)).astype(np.uint8)).save(path)


def run(tmp_path, content, **settings):
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return scan([tmp_path / "in"], tmp_path / "out/m.csv", table=tmp_path / "t.csv", **settings)


def classes(result):
    return {row.source: row.classes for row in result.rows}


@pytest.mark.parametrize(
    "content",
    [
        "id;class\na;x\nb;y\n",
        "id\tclass\na\tx\nb\ty\n",
        "\ufeffid,class\na,x\nb,y\n",
        "id,class\na,x\nb,y\n".encode("utf-16"),
        "\ufeffid;class\r\na;x\r\nb;y\r\n\r\n",
        'id;class\na;"x"\nb;y\n;\n',
    ],
)
def test_separators_and_encodings(tmp_path, content):
    pictures(tmp_path, "a", "b")
    assert classes(run(tmp_path, content)) == {"a.png": ("x",), "b.png": ("y",)}


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["B|C", "A", "A|B"], [("B", "C"), ("A",), ("A", "B")]),
        (["B;C", "A|D", "A"], [("B", "C"), ("A|D",), ("A",)]),
        (['"A,B"', "A", "B"], [("A", "B"), ("A",), ("B",)]),
        (['"mass, benign"', "none", "none"], [("mass, benign",), ("none",), ("none",)]),
    ],
)
def test_classes_of_one_cell(tmp_path, cells, found):
    pictures(tmp_path, "a", "b", "c")
    table = "id,class\n" + "".join(f"{name},{cell}\n" for name, cell in zip("abc", cells, strict=True))
    assert list(classes(run(tmp_path, table)).values()) == found


def test_how_classes_are_parted_is_said(tmp_path):
    pictures(tmp_path, "a")
    assert (
        "classes in column 'f' of t.csv are separated by '|'"
        in run(tmp_path, "id,f\na,x|y\n", columns={"class": "f"}).notices
    )
    assert spreadsheet.joint(["a", "b"]) == ";"


def test_leading_zeros_that_a_spreadsheet_dropped(tmp_path):
    pictures(tmp_path, "007", "008", "10")
    assert classes(run(tmp_path, "id,class\n7,x\n008,y\n10,z\n")) == {
        "007.png": ("x",), "008.png": ("y",), "10.png": ("z",),
    }  # fmt: skip


def test_paths_of_another_computer(tmp_path):
    pictures(tmp_path, "u/a", "v/a", "v/b")
    found = run(tmp_path, "id,class\nC:\\data\\u\\a.png,x\n/home/me/v/a.png,y\nD:\\v\\b.png,z\n")
    assert classes(found) == {"u/a.png": ("x",), "v/a.png": ("y",), "v/b.png": ("z",)}


def test_a_column_named_twice_is_refused(tmp_path):
    pictures(tmp_path, "a")
    with pytest.raises(InputError, match="two columns named 'class'"):
        run(tmp_path, "id,class,class\na,x,y\n")
    with pytest.raises(InputError, match="names class twice"):
        _pairs("class=A,class=B")


def test_splits_of_a_table_and_of_an_edited_manifest(tmp_path):
    pictures(tmp_path, "a", "b", "c")
    rows = run(tmp_path, "id,split\na,Testing\nb, TRAIN\nc,extra\n")
    assert [row.split for row in rows.rows] == ["test", "train", "extra"]
    assert (
        "1 images have the split 'extra', not one of train, val, test: pretraining uses every split but test"
        in rows.notices
    )
    file = tmp_path / "out/m.csv"
    file.write_text(file.read_text().replace(",train,", ",Validation,"))
    assert [row.split for row in manifest.read(file).rows] == ["test", "val", "extra"]
    file.write_text(file.read_text().replace(",extra,", ",tets,"))
    with pytest.raises(InputError, match="did you mean 'test'"):
        manifest.read(file)


def test_a_class_that_a_part_lacks_is_said(tmp_path):
    pictures(tmp_path, "a", "b", "c")
    found = run(tmp_path, "id,class,split\na,x,train\nb,y,train\nc,x,test\n")
    assert "test has no case of y" in found.notices
    assert not any(notice.startswith("train has") for notice in found.notices)


def nifti(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def images_and_labels(tmp_path, names, label):
    for name in names:
        nifti(tmp_path / f"in/{name}.nii.gz", RNG.integers(-1000, 1000, (6, 7, 8)).astype(np.int16))
        nifti(
            tmp_path / f"lab/{label.format(name)}.nii.gz", (np.arange(336) % 3 == 0).astype(np.uint8).reshape(6, 7, 8)
        )


def with_labels(tmp_path):
    return scan([tmp_path / "in"], tmp_path / "out/m.csv", labels=tmp_path / "lab")


def test_labels_that_fit_no_image_come_with_the_pair_that_does(tmp_path):
    images_and_labels(tmp_path, "ab", "{}_seg")
    found = with_labels(tmp_path)
    (notice,) = (notice for notice in found.notices if "match no image" in notice)
    assert notice == (
        "2 labels match no image, such as lab/a_seg.nii.gz: pair them with --pair 'in/*.nii.gz=lab/*_seg.nii.gz'"
    )
    pair = notice.split("'")[1]
    assert all(row.label for row in scan([tmp_path / "in"], tmp_path / "o/m.csv", pairs=[pair]).rows)


def test_junk_of_an_operating_system_is_no_label(tmp_path):
    images_and_labels(tmp_path, "ab", "{}")
    (tmp_path / "lab/._a.nii.gz").write_bytes(b"\0\5\x16\7")
    (tmp_path / "lab/__MACOSX").mkdir()
    (tmp_path / "lab/__MACOSX/a.nii.gz").write_bytes(b"\0\5\x16\7")
    found = with_labels(tmp_path)
    assert [row.label for row in found.rows] == ["lab/a.nii.gz", "lab/b.nii.gz"]


def test_one_label_for_images_of_several_folders_is_nobodys(tmp_path):
    images_and_labels(tmp_path, ["p1/scan", "p2/scan"], "{}")
    (tmp_path / "lab/p1/scan.nii.gz").rename(tmp_path / "lab/scan.nii.gz")
    (tmp_path / "lab/p2/scan.nii.gz").unlink()
    found = with_labels(tmp_path)
    assert [row.label for row in found.rows] == ["", ""]
    assert any("p1/scan.nii.gz and p2/scan.nii.gz, match the same label" in notice for notice in found.notices)


def test_labels_in_folders_of_the_same_names_are_theirs(tmp_path):
    images_and_labels(tmp_path, ["p1/scan", "p2/scan"], "{}")
    assert [row.label for row in with_labels(tmp_path).rows] == ["lab/p1/scan.nii.gz", "lab/p2/scan.nii.gz"]


def test_modalities_may_share_a_label(tmp_path):
    images_and_labels(tmp_path, ["CT/p1", "MR/p1"], "{}")
    (tmp_path / "lab/CT/p1.nii.gz").rename(tmp_path / "lab/p1.nii.gz")
    (tmp_path / "lab/MR/p1.nii.gz").unlink()
    assert [row.label for row in with_labels(tmp_path).rows] == ["lab/p1.nii.gz"] * 2


def test_empty_labels_are_said(tmp_path):
    images_and_labels(tmp_path, "abc", "{}")
    nifti(tmp_path / "lab/b.nii.gz", np.zeros((6, 7, 8), np.uint8))
    assert "1 of 3 labels are empty (background only)" in with_labels(tmp_path).notices


def test_the_list_of_rejected_files_may_go(tmp_path):
    images_and_labels(tmp_path, "abc", "{}")
    (tmp_path / "in/x.nii").write_text("words")
    found = with_labels(tmp_path)
    (tmp_path / "out/rejected.csv").unlink()
    assert prepare(found.manifest.path, tmp_path / "c", preset="mr").left_out == {"not a NIfTI": 1}


def test_a_column_for_each_class_with_uncertain_ones(tmp_path):
    text = "id,Edema,Pleural Effusion,Mass\na,1.0,-1.0,0.0\nb,,,\nc,0,1,1\n"
    (tmp_path / "t.csv").write_text(text)
    found = table.read(tmp_path / "t.csv", "id", {"class": "Edema|Pleural Effusion|Mass"})
    assert [found.records[name][0].classes for name in "abc"] == [
        ("Edema", "Pleural Effusion?"),
        ("No Finding",),
        ("Pleural Effusion", "Mass"),
    ]
    with pytest.raises(InputError, match="no column 'Nodule'"):
        table.read(tmp_path / "t.csv", "id", {"class": "Edema|Nodule"})
    (tmp_path / "t.csv").write_text(text.replace("0,1,1", "0,many,1"))
    with pytest.raises(InputError, match=r"column 'Pleural Effusion' of .* has 'many'"):
        table.read(tmp_path / "t.csv", "id", {"class": "Edema|Pleural Effusion|Mass"})
