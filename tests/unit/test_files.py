"""What lies in a tree of files: pipes, links, names that are no text, junk, sidecars."""

from __future__ import annotations

import os
import socket

import numpy as np
import pytest
from PIL import Image

from medssl.data.reject import brief
from medssl.data.scan import notes
from medssl.data.scan.files import printable, walk
from medssl.data.scan.scan import scan


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)).save(path)


@pytest.fixture
def tree(tmp_path):
    """One picture, and beside it what must not be opened."""
    root = tmp_path / "in"
    picture(root / "a.png")
    picture(tmp_path / "elsewhere/b.png")
    os.mkfifo(root / "pipe.png")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(root / "socket.png"))
    server.close()
    (root / "self.png").symlink_to("self.png")
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "out.png").symlink_to(tmp_path / "elsewhere/b.png")
    (root / "outside").symlink_to(tmp_path / "elsewhere")
    (root / "up").symlink_to(root)
    (root / "again.png").symlink_to(root / "a.png")
    os.rename(root / "a.png", os.fsencode(root) + b"/B\xe4r.png")
    picture(root / "a.png")
    (root / "._a.png").write_bytes(b"\0\5")
    return root


def test_only_files_are_opened_and_each_other_thing_has_its_reason(tree, tmp_path):
    found = scan([tree], tmp_path / "out/m.csv")
    assert [row.source for row in found.rows] == ["a.png", "again.png"]
    assert {left.source: left.reason for left in found.rejected} == {
        "pipe.png": "not a file",
        "socket.png": "not a file",
        "self.png": "cannot be read",
        "gone.png": "cannot be read",
        "out.png": "link out of the folder",
        "outside": "link out of the folder",
        "B\\xe4r.png": "name is not UTF-8",
        "._a.png": "file of an operating system",
    }


def test_a_link_is_followed_inside_what_is_scanned(tree, tmp_path):
    files, _ = walk([tree, tmp_path / "elsewhere"], ())
    assert {file.name for file in files} == {"a.png", "again.png", "b.png", "out.png"}


def test_printable_names():
    assert printable("Bär") == "Bär"
    assert printable(os.fsdecode(b"B\xe4r")) == "B\\xe4r"


def test_sidecars_are_one_line_per_kind():
    why = ("not an image", "not DICOM, and not named like an image format")
    files = [notes.SkippedFile(f"{n}/a.json", *why) for n in range(5)]
    files += [
        notes.SkippedFile("notes.txt", *why),
        notes.SkippedFile("LICENSE", *why),
        notes.SkippedFile("README", *why),
    ]
    files += [notes.SkippedFile(f"{n}.dcm", "not an image", "SR") for n in range(2)]
    assert notes.rejected(files) == [
        ("*.json", "not an image", "5 files, such as 0/a.json"),
        ("0.dcm", "not an image", "SR"),
        ("1.dcm", "not an image", "SR"),
        ("LICENSE", *why),
        ("README", *why),
        ("notes.txt", *why),
    ]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "/data/Doe Jane/x.nii"),
        ValueError("cannot read '/data/Doe Jane/x.nii': short"),
        RuntimeError("C:\\data\\Doe Jane\\x.nii"),
    ],
)
def test_details_name_no_folder(error):
    assert "Doe" not in brief(error)
    assert "data" not in brief(error)
