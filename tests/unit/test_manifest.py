import csv
import hashlib
import hmac
import os
import stat

import numpy as np
import pytest
from PIL import Image

from medssl.data import manifest
from medssl.data.manifest import Row
from medssl.data.scan.scan import scan
from medssl.types import InputError

ROW = Row(
    id="ct-0123456789ab",
    image="a/000.dcm",
    label="labels/a.nii.gz",
    classes=("nodule", "mass"),
    patient="p" * 12,
    modality="CT",
    shape=(40, 512, 512),
    spacing=(2.5, 0.703125, 0.703125),
    split="train",
    source="a",
    qc=("few slices",),
)
ENTRY = {"files": ["a/000.dcm", "a/001.dcm"], "frames": [(0, 3), (1, 0)]}


def write(folder, rows=(ROW,), **settings):
    folder.mkdir(parents=True, exist_ok=True)
    return manifest.write(folder / "manifest.csv", rows, folder.parent, {row.id: ENTRY for row in rows}, **settings)


def test_what_is_written_is_read(tmp_path):
    written = write(tmp_path / "out")
    found = manifest.read(tmp_path / "out/manifest.csv")
    assert found.rows == [ROW] == written.rows
    assert found.root == tmp_path
    assert found.files(ROW.id) == [tmp_path / "a/000.dcm", tmp_path / "a/001.dcm"]
    assert found.frames(ROW.id) == [(0, 3), (1, 0)]
    assert found.label_path(ROW) == tmp_path / "labels/a.nii.gz"


def test_columns_are_those_of_the_grammar(tmp_path):
    write(tmp_path / "out")
    header, line = list(csv.reader((tmp_path / "out/manifest.csv").open()))
    assert ",".join(header) == "id,image,label,class,patient,study,series,modality,shape,spacing,split,source,qc,looked"
    assert line[3] == "nodule;mass"
    assert line[8:10] == ["40x512x512", "2.5x0.703125x0.703125"]


def test_the_folder_may_move_with_its_data(tmp_path):
    write(tmp_path / "data/out")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert manifest.read(tmp_path / "elsewhere/out/manifest.csv").root == tmp_path / "elsewhere"


def test_rejected_lists_of_two_manifests_do_not_overwrite_each_other(tmp_path):
    for name in ("a", "b", "a"):
        manifest.write(tmp_path / f"{name}.csv", [ROW], tmp_path, {ROW.id: ENTRY}, rejected=[(name, "reason", "")])
    assert (tmp_path / "rejected.csv").read_text() == "source,reason,detail\na,reason,\n"
    assert (tmp_path / "b.rejected.csv").read_text() == "source,reason,detail\nb,reason,\n"


def test_no_halves_are_left_behind(tmp_path):
    write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "manifest.csv",
        "manifest.json",
        "manifest.files.jsonl",
        "rejected.csv",
    }


class TestKey:
    def test_a_new_key_is_the_owners_alone_and_stays(self, tmp_path):
        key = manifest.read_key(None, tmp_path / "manifest.csv")
        assert stat.S_IMODE((tmp_path / "manifest.key").stat().st_mode) == 0o600
        assert len(key) == 64
        assert manifest.read_key(None, tmp_path / "manifest.csv") == key

    def test_hashes_are_hmac_sha256(self):
        expected = hmac.new(b"k" * 16, b"patient|7", hashlib.sha256).hexdigest()[:12]
        assert manifest.keyed_hash(b"k" * 16, "patient", "7") == expected
        assert manifest.keyed_hash(b"k" * 16, "study", "7") != expected

    def test_a_given_key_must_exist_and_be_long(self, tmp_path):
        with pytest.raises(InputError, match="no key file"):
            manifest.read_key(tmp_path / "key", tmp_path / "manifest.csv")
        (tmp_path / "key").write_text("short")
        with pytest.raises(InputError, match="5 characters"):
            manifest.read_key(tmp_path / "key", tmp_path / "manifest.csv")


class TestRefused:
    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match="medssl scan"):
            manifest.read(tmp_path / "manifest.csv")

    def test_other_columns(self, tmp_path):
        (tmp_path / "manifest.csv").write_text("a,b\n1,2\n")
        with pytest.raises(InputError, match="columns"):
            manifest.read(tmp_path / "manifest.csv")

    @pytest.mark.parametrize("name", ["manifest.json", "manifest.files.jsonl"])
    def test_a_companion_is_gone(self, tmp_path, name):
        write(tmp_path / "out")
        (tmp_path / "out" / name).unlink()
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            manifest.read(tmp_path / "out/manifest.csv")

    def test_the_images_are_gone(self, tmp_path):
        folder = tmp_path / "data"
        folder.mkdir()
        manifest.write(tmp_path / "m.csv", [ROW], folder, {ROW.id: ENTRY})
        folder.rmdir()
        with pytest.raises(InputError, match="is gone"):
            manifest.read(tmp_path / "m.csv")

    @pytest.mark.parametrize("name", ["manifest.csv", "manifest.json", "boxes.csv"])
    def test_files_that_no_scan_wrote_are_not_overwritten(self, tmp_path, name):
        (tmp_path / name).write_text('{"mine": 1}' if name.endswith("json") else "mine\n")
        with pytest.raises(InputError, match="not written by scan"):
            manifest.refuse_foreign(tmp_path / "manifest.csv")

    def test_its_own_files_may_be_overwritten(self, tmp_path):
        write(tmp_path / "out")
        manifest.refuse_foreign(tmp_path / "out/manifest.csv")


def test_files_of_others_beside_the_manifest_may_be_of_any_encoding_or_none(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)).save(tmp_path / "in/a.png")
    (tmp_path / "notes.json").write_bytes('{"Größe": 1}'.encode("latin-1"))
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    found = scan([tmp_path / "in"], tmp_path / "m.csv")
    assert (tmp_path / "rejected.csv").is_file()
    found.manifest.path.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match=r"m\.json or m\.files\.jsonl .* is damaged"):
        manifest.read(found.manifest.path)
