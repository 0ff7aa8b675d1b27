import csv
from collections import Counter

import nibabel
import numpy as np
import pytest
from dicom_writer import CR, series, write
from PIL import Image

from medssl.data import manifest
from medssl.data.cache import Cache
from medssl.data.read import reader
from medssl.data.scan.scan import scan
from medssl.types import InputError
from medssl.verbs import data as verbs

RNG = np.random.default_rng(0)


def nifti(path, shape=(6, 7, 8), affine=None, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = RNG.integers(-1000, 1000, shape).astype(np.int16) if array is None else array
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def mask(path, shape=(6, 7, 8), **settings):
    label = np.zeros(shape, np.uint8)
    label[2:4, 2:4, 2:4] = 1
    return nifti(path, array=label, **settings)


def picture(path, shape=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, shape).astype(np.uint8)).save(path)


def reasons(result):
    return Counter(left.reason for left in result.rejected)


def run(tmp_path, folders=None, **settings):
    return scan(folders or [tmp_path / "in"], tmp_path / "out/manifest.csv", **settings)


@pytest.fixture
def hospital(tmp_path):
    """A folder as it comes: two series, a NIfTI, a radiograph, a picture, and things that are no images."""
    root = tmp_path / "in"
    cube = RNG.integers(0, 2000, (9, 8, 10)).astype(np.uint16)
    series(root / "DICOM/A1/S1", cube, SeriesInstanceUID="1.1", PatientID="Doe Jane 1970")
    series(root / "DICOM/A1/S2", cube + 1, SeriesInstanceUID="1.2", PatientID="Doe Jane 1970")
    write(root / "DICOM/IM7", cube[0], SOPClassUID=CR, Modality="CR", SeriesInstanceUID="1.3", PatientID="Roe")
    nifti(root / "x/sub-03/anat/sub-03_T1w.nii.gz")
    picture(root / "p.png")
    (root / ".hidden").write_text("x")
    (root / "LICENSE").write_text("words")
    (root / "x/a.json").write_text("{}")
    (root / "x/text.nii.gz").write_text("words")
    (root / "x/empty.nii").touch()
    return tmp_path


def test_every_file_is_in_an_image_or_has_one_reason(hospital):
    result = run(hospital)
    files = {path.relative_to(hospital / "in").as_posix() for path in (hospital / "in").rglob("*") if path.is_file()}
    used = [
        path.relative_to(hospital / "in").as_posix() for row in result.rows for path in result.manifest.files(row.id)
    ]
    left = [entry.source for entry in result.rejected]
    assert sorted(used + left) == sorted(files)
    assert reasons(result) == {"not an image": 3, "not a NIfTI": 1, "empty file": 1}
    with (hospital / "out/rejected.csv").open() as stream:
        assert [tuple(line.values()) for line in csv.DictReader(stream)] == [tuple(entry) for entry in result.rejected]


def test_rows_tell_what_the_images_are(hospital):
    rows = {row.source: row for row in run(hospital).rows}
    assert {source: (row.modality, row.shape) for source, row in rows.items()} == {
        "DICOM/A1/S1": ("CT", (9, 8, 10)),
        "DICOM/A1/S2": ("CT", (9, 8, 10)),
        "DICOM/IM7": ("CR", (8, 10)),
        "x/sub-03/anat/sub-03_T1w.nii.gz": ("MR", (8, 7, 6)),
        "p.png": ("OT", (20, 24)),
    }
    first, second = rows["DICOM/A1/S1"], rows["DICOM/A1/S2"]
    assert first.patient == second.patient != rows["DICOM/IM7"].patient
    assert first.study == second.study
    assert first.series != second.series
    assert all(row.id.startswith(f"{row.modality.lower()}-") for row in rows.values())


def test_rows_can_be_read_back(hospital):
    run(hospital)
    found = manifest.read(hospital / "out/manifest.csv")
    volumes = [reader.load(found, row) for row in found.rows]
    assert [volume.array.shape[1:] for volume in volumes] == [row.shape for row in found.rows]
    assert [volume.modality for volume in volumes] == [row.modality for row in found.rows]


def test_no_identity_of_the_header_leaks(hospital):
    run(hospital)
    text = "".join(path.read_text() for path in (hospital / "out").iterdir())
    assert not [word for word in ("Doe", "Jane", "Roe", "1970", "1.2.3") if word in text]


def test_two_scans_with_one_key_agree(hospital):
    first = run(hospital)
    again = scan([hospital / "in"], hospital / "b/m.csv", key=hospital / "out/manifest.key")
    other = scan([hospital / "in"], hospital / "c/m.csv")
    assert again.rows == first.rows
    assert not {row.id for row in first.rows} & {row.id for row in other.rows}
    assert not {row.patient for row in first.rows} & {row.patient for row in other.rows}


def test_a_second_scan_into_the_scanned_folder_does_not_find_its_own_files(hospital):
    once = scan([hospital / "in"], hospital / "in/manifest.csv")
    twice = scan([hospital / "in"], hospital / "in/manifest.csv")
    assert twice.rows == once.rows
    assert twice.rejected == once.rejected


def test_a_truncated_slice_costs_itself(tmp_path):
    cube = RNG.integers(0, 2000, (9, 8, 10)).astype(np.uint16)
    end = series(tmp_path / "in/end", cube, SeriesInstanceUID="1.1")[-1]
    middle = series(tmp_path / "in/middle", cube + 5, SeriesInstanceUID="1.2")[4]
    for path in (end, middle):
        path.write_bytes(path.read_bytes()[:-20])
    result = run(tmp_path)
    (row,) = result.rows
    assert (row.source, row.shape, row.qc) == ("end", (8, 8, 10), ("1 files lost", "anisotropic"))
    assert sum(reasons(result).values()) == 1 + 9
    assert reasons(result)["missing slices"] == 8
    assert {left.source for left in result.rejected if left.reason != "missing slices"} == {
        path.relative_to(tmp_path / "in").as_posix() for path in (end, middle)
    }


def test_a_split_depends_on_the_seed_and_not_on_the_key(tmp_path):
    for number in range(20):
        picture(tmp_path / f"in/{number}.png")
    first, second, other = (
        {row.source: row.split for row in scan([tmp_path / "in"], tmp_path / name, split=(0.5, 0.5), seed=seed).rows}
        for name, seed in (("a/m.csv", 0), ("b/m.csv", 0), ("c/m.csv", 1))
    )
    assert first == second != other


def test_an_analyze_pair_is_one_image(tmp_path):
    (tmp_path / "in").mkdir()
    array = RNG.integers(0, 1000, (9, 9, 9)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Pair(array, np.eye(4)), tmp_path / "in/a.img")
    result = run(tmp_path)
    assert result.rejected == []
    assert [path.name for path in result.manifest.files(result.rows[0].id)] == ["a.hdr", "a.img"]


def test_many_analyze_pairs_are_as_many_images(tmp_path):
    for number in range(12):
        array = np.arange(210, dtype=np.int16).reshape(5, 6, 7) + np.int16(number)
        nibabel.save(nibabel.Nifti1Pair(array, np.eye(4)), tmp_path / f"{number}.hdr")
    found = scan([tmp_path], tmp_path / "out" / "m.csv")
    assert len(found.rows) == 12
    assert not found.rejected
    assert {len(found.manifest.files(row.id)) for row in found.rows} == {2}


def test_what_no_reader_foresaw_costs_its_file(tmp_path, monkeypatch):
    for name in "ab":
        nifti(tmp_path / f"in/{name}.nii.gz")
    honest = reader.nifti.read

    def read(path, **settings):
        if path.name == "a.nii.gz":
            raise RuntimeError("never seen before")
        return honest(path, **settings)

    monkeypatch.setattr(reader.nifti, "read", read)
    result = run(tmp_path)
    assert [row.source for row in result.rows] == ["b.nii.gz"]
    assert [tuple(left) for left in result.rejected] == [
        ("a.nii.gz", "cannot be read", "RuntimeError: never seen before")
    ]


def test_two_processes_find_what_one_finds(hospital, tmp_path):
    """Whatever is refused, too, and in the same order."""
    places = [tmp_path / f"{workers}" / "m.csv" for workers in (1, 2)]
    key = tmp_path / "key"
    key.write_text("k" * 32)
    found = [scan([hospital / "in"], place, key=key, workers=number) for number, place in enumerate(places, 1)]
    assert found[0].rows == found[1].rows
    assert found[0].rejected == found[1].rejected
    assert found[0].notices == found[1].notices


def test_copies_are_flagged_and_not_parted_by_a_split(tmp_path):
    for number in range(12):
        nifti(tmp_path / f"in/case{number}.nii.gz")
    copy = tmp_path / "in/copy.nii.gz"
    copy.write_bytes((tmp_path / "in/case3.nii.gz").read_bytes())
    for seed in range(4):
        rows = {row.source: row for row in run(tmp_path, split=(0.5, 0.2, 0.3), seed=seed).rows}
        assert f"duplicate of {rows['case3.nii.gz'].id}" in rows["copy.nii.gz"].qc
        assert rows["copy.nii.gz"].split == rows["case3.nii.gz"].split
        assert set(Counter(row.split for row in rows.values())) == {"train", "val", "test"}


class TestLabels:
    def test_folder_of_labels_by_stem_of_file_or_series(self, tmp_path):
        nifti(tmp_path / "in/a.nii.gz")
        nifti(tmp_path / "in/b_0000.nii.gz")
        nifti(tmp_path / "in/c.nii.gz")
        series(tmp_path / "in/d/dcm", RNG.integers(0, 99, (9, 8, 10)).astype(np.uint16))
        for stem in "ab":
            mask(tmp_path / f"labels/{stem}.nii.gz")
        affine = np.array([[-0.8, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
        mask(tmp_path / "labels/d.nii.gz", (10, 8, 9), affine=affine)
        result = run(tmp_path, labels=tmp_path / "labels")
        labels = {row.source: row.label for row in result.rows}
        assert labels == {
            "in/a.nii.gz": "labels/a.nii.gz",
            "in/b_0000.nii.gz": "labels/b.nii.gz",
            "in/c.nii.gz": "",
            "in/d/dcm": "labels/d.nii.gz",
        }
        assert "3 of 4 images have a label" in result.notices

    @pytest.mark.parametrize(
        "pair", ["*_image.nii.gz=*_mask.nii.gz", "in/*/*_image.nii.gz=in/*/*_mask.nii.gz", "**_image*=**_mask*"]
    )
    def test_pairs(self, tmp_path, pair):
        for case in "ab":
            nifti(tmp_path / f"in/{case}/{case}_image.nii.gz")
        mask(tmp_path / "in/a/a_mask.nii.gz")
        mask(tmp_path / "in/c/lost_mask.nii.gz")
        result = run(tmp_path, pairs=[pair])
        assert {row.source: row.label for row in result.rows} == {
            "a/a_image.nii.gz": "a/a_mask.nii.gz",
            "b/b_image.nii.gz": "",
        }
        assert [tuple(left) for left in result.rejected] == [("c/lost_mask.nii.gz", "label without image", "")]

    def test_a_label_of_another_shape_costs_its_image(self, tmp_path):
        nifti(tmp_path / "in/a.nii.gz")
        nifti(tmp_path / "in/b.nii.gz")
        mask(tmp_path / "labels/a.nii.gz", (6, 7, 9))
        mask(tmp_path / "labels/b.nii.gz")
        result = run(tmp_path, labels=tmp_path / "labels")
        assert [row.source for row in result.rows] == ["in/b.nii.gz"]
        assert [tuple(left) for left in result.rejected] == [
            ("in/a.nii.gz", "label shape (9, 7, 6) differs from image (8, 7, 6)", "a.nii.gz")
        ]

    def test_a_label_elsewhere_or_of_halves_costs_its_image(self, tmp_path):
        for case in "abc":
            nifti(tmp_path / f"in/{case}.nii.gz")
        mask(tmp_path / "labels/a.nii.gz", affine=np.diag([1.0, 1, 3, 1]))
        nifti(tmp_path / "labels/b.nii.gz", array=np.full((6, 7, 8), 0.5, np.float32))
        result = run(tmp_path, labels=tmp_path / "labels")
        assert reasons(result) == {"label lies elsewhere than its image": 1, "its label: label is not integers": 1}

    def test_masks_are_not_taken_for_images(self, tmp_path):
        for case in "ab":
            nifti(tmp_path / f"in/images/{case}.nii.gz")
            mask(tmp_path / f"in/masks/{case}.nii.gz")
        nifti(tmp_path / "in/v/volume.nii.gz", (5, 5, 9))
        mask(tmp_path / "in/v/segmentation.nii.gz", (5, 5, 9))
        mask(tmp_path / "in/alone/phantom.nii.gz", (9, 9, 9))  # no twin: may be an image
        result = run(tmp_path)
        assert reasons(result) == {"looks like a mask": 3}
        assert len(result.rows) == 4
        assert any(notice.startswith("3 files look like masks") for notice in result.notices)

    def test_bids_derivatives_are_labels_and_not_images(self, tmp_path):
        for case in ("01", "02"):
            nifti(tmp_path / f"in/sub-{case}/anat/sub-{case}_FLAIR.nii.gz")
            mask(tmp_path / f"in/derivatives/lesions/sub-{case}/anat/sub-{case}_space-orig_label-lesion_mask.nii.gz")
        found = run(tmp_path)
        assert reasons(found) == {"looks like a mask": 2}
        assert [row.label for row in found.rows] == ["", ""]
        found = run(tmp_path, labels=tmp_path / "in/derivatives")
        assert [row.label[:28] for row in found.rows] == [
            "derivatives/lesions/sub-01/a",
            "derivatives/lesions/sub-02/a",
        ]

    @pytest.mark.parametrize("folder", ["seg", "Masks", "label", "labelsTr", "tumour_segmentations"])
    def test_masks_in_a_folder_of_masks_need_no_like_name(self, tmp_path, folder):
        nifti(tmp_path / "in/images/case_a.nii.gz")
        mask(tmp_path / f"in/{folder}/lesion_of_b.nii.gz")
        assert reasons(run(tmp_path)) == {"looks like a mask": 1}

    @pytest.mark.parametrize("pair", ["a", "=b", "*=b"])
    def test_wrong_pairs_are_refused(self, tmp_path, pair):
        picture(tmp_path / "in/a.png")
        with pytest.raises(InputError, match="--pair"):
            run(tmp_path, pairs=[pair])


class TestTable:
    def table(self, tmp_path, text):
        (tmp_path / "table.csv").write_text(text)
        return {"table": tmp_path / "table.csv", "id_column": "id"}

    def test_columns_are_joined_by_stem_or_path(self, tmp_path):
        for name in ("u/a", "u/b", "v/b", "c"):
            picture(tmp_path / f"in/{name}.png")
        settings = self.table(
            tmp_path,
            "id,finding,subject,sex,age,split,boxes,secret\n"
            "a,mass;nodule,P1,F,61,train,mass: 1 2 5 9; 0 0 3 3,x\n"
            "v/b.png,none,P1,M,5,test,,x\nu/b.png,none,P2,M,5,test,,x\n",
        )
        result = run(tmp_path, **settings, columns={"class": "finding", "patient": "subject"})
        rows = {row.source: row for row in result.rows}
        assert rows["u/a.png"].classes == ("mass", "nodule")
        assert rows["u/a.png"].split == "train"
        assert rows["u/a.png"].patient == rows["v/b.png"].patient != rows["u/b.png"].patient
        assert rows["c.png"].classes == ()
        assert (tmp_path / "out/manifest.table.csv").read_text().splitlines()[:2] == [
            "id,sex,age",
            f"{rows['u/a.png'].id},F,61",
        ]
        assert (tmp_path / "out/boxes.csv").read_text().splitlines() == [
            "id,class,start,stop,reader,ignore,diameter_mm",
            f"{rows['u/a.png'].id},mass,1x2,5x9,,,",
            f"{rows['u/a.png'].id},,0x0,3x3,,,",
        ]
        assert "3 of 4 images have a row in the table; 0 rows match none" in result.notices

    def test_label_column(self, tmp_path):
        nifti(tmp_path / "in/a.nii.gz")
        mask(tmp_path / "in/m/one.nii.gz")
        result = run(tmp_path, **self.table(tmp_path, "id,label\na,in/m/one.nii.gz\n"))
        assert [(row.source, row.label) for row in result.rows] == [("a.nii.gz", "m/one.nii.gz")]
        assert result.rejected == []

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("id,label\na,covid\n", "give --columns class=label"),
            ("name\na\n", r"has no column 'id' \(there are: name\)"),
            ("id\na\na\n", "two rows with id=a"),
            ("id,boxes\na,1 2 3\n", "numbers"),
            ("id,boxes\na,5 5 1 9\n", "empty"),
        ],
    )
    def test_wrong_tables_are_refused(self, tmp_path, text, told):
        picture(tmp_path / "in/a.png")
        with pytest.raises(InputError, match=told):
            run(tmp_path, **self.table(tmp_path, text))

    def test_a_table_in_another_encoding_is_refused(self, tmp_path):
        picture(tmp_path / "in/a.png")
        (tmp_path / "table.csv").write_bytes("id,class\na,Läsion\n".encode("latin-1"))
        with pytest.raises(InputError, match="CSV UTF-8"):
            run(tmp_path, table=tmp_path / "table.csv")


class TestRefused:
    def test_missing_folder(self, tmp_path):
        with pytest.raises(InputError, match="there is no folder"):
            run(tmp_path)

    def test_empty_folder(self, tmp_path):
        (tmp_path / "in").mkdir()
        with pytest.raises(InputError, match="contains no files"):
            run(tmp_path)

    def test_nothing_found_tells_the_reasons(self, tmp_path):
        (tmp_path / "in").mkdir()
        for number in range(3):
            (tmp_path / f"in/{number}.txt").write_text("words")
        with pytest.raises(InputError, match=r"3 files were skipped \(3 x not an image; such as not an image \("):
            run(tmp_path)
        assert not list((tmp_path / "out").iterdir())

    def test_out_is_a_folder_or_below_a_file(self, tmp_path):
        picture(tmp_path / "in/a.png")
        (tmp_path / "dir.csv").mkdir()
        for out in (tmp_path / "dir.csv", tmp_path / "in/a.png/m.csv", tmp_path / "m.txt"):
            with pytest.raises(InputError, match="--out"):
                scan([tmp_path / "in"], out)


def test_progress_counts_to_the_end(hospital):
    told = []
    run(hospital, progress=lambda stage, done, total: told.append((stage, done, total)))
    for stage in ("headers", "images"):
        counts = [(done, total) for name, done, total in told if name == stage]
        assert [done for done, _ in counts] == list(range(1, counts[-1][1] + 1))


def test_the_command_line_uses_the_key_and_takes_an_isotropic_spacing(tmp_path):
    nifti(tmp_path / "in/p1.nii.gz", affine=np.diag([1.0, 1, 4, 1]))
    (tmp_path / "key").write_text("a secret of the hospital")
    ids = []
    for name in ("a", "b"):
        verbs.scan([tmp_path / "in"], tmp_path / name / "m.csv", key=tmp_path / "key")
        ids.append([row.id for row in manifest.read(tmp_path / name / "m.csv").rows])
    assert ids[0] == ids[1]
    verbs.prepare(tmp_path / "a/m.csv", tmp_path / "cache", "mr", spacing="isotropic")
    (case,) = Cache(tmp_path / "cache").cases.values()
    assert len(set(case.spacing)) == 1
