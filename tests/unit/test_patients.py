"""Who is a patient: tables, headers, and what labels and names suggest."""

from __future__ import annotations

from collections import defaultdict

import nibabel
import numpy as np
import pytest
from dicom_writer import series
from PIL import Image

from medssl.data.scan import names
from medssl.data.scan.scan import scan
from medssl.types import InputError

RNG = np.random.default_rng(0)
CUBE = RNG.integers(0, 2000, (9, 8, 10)).astype(np.uint16)


def grouped(sources: list[str]) -> list[list[str]]:
    """The sources that `names.guess` gives to one patient."""
    found = defaultdict(list)
    for source, guess in zip(sources, names.guess(sources), strict=True):
        found[guess.name].append(source)
    return sorted(map(sorted, found.values()))


def alone(sources: list[str]) -> list[list[str]]:
    return sorted([source] for source in sources)


@pytest.mark.parametrize(
    "same",
    [
        ["case_12_0000.nii.gz", "case_12_0001.nii.gz", "case_12_0002.nii.gz"],
        ["S_000_flair.nii.gz", "S_000_t1.nii.gz", "S_000_ct_image.nii.gz"],
        ["T1_p7.nii", "FLAIR_p7.nii"],
        ["p1/T1.nii.gz", "p1/FLAIR.nii.gz", "p1/imaging.nii.gz"],
        ["p1/anat/T1.nii", "p1/pet/PET.nii"],
        ["CT/p7.nii.gz", "MR/p7.nii.gz"],
        ["baseline/p7.nii.gz", "followup/p7.nii.gz", "visit3/p7.nii.gz"],
        ["p7_slice_001.png", "p7_slice_002.png"],
        ["m4_L_CC.png", "m4_R_MLO.png"],
    ],
)
def test_files_of_one_patient(same):
    others = [
        source.replace("p1", "p2").replace("p7", "p8").replace("_12", "_13").replace("_000_", "_001_")
        for source in same
    ]
    others = [source.replace("m4", "m5") for source in others]
    assert grouped(same + others) == sorted([sorted(same), sorted(others)])


@pytest.mark.parametrize(
    "sources",
    [
        [f"case_{n:05d}/imaging.nii.gz" for n in range(10)],
        [f"img_{n:04d}.png" for n in range(60)],
        [f"covid/covid-{n}.png" for n in range(5)] + [f"normal/normal-{n}.png" for n in range(5)],
        [f"fold{n % 3}/a{n}.png" for n in range(9)],
        [f"{n % 2}/scan_of_{'abcdef'[n]}.png" for n in range(6)],
        ["site1/004.png", "site2/004.png", "site1/005.png", "site2/006.png"],
        ["anna/scan.nii", "bert/scan.nii", "carl/scan.nii"],
        ["hippocampus_001.nii.gz", "hippocampus_004.nii.gz"],
    ],
)
def test_files_that_are_a_patient_each(sources):
    assert grouped(sources) == alone(sources)


def test_numbered_folders_are_patients_whatever_their_files_are_called():
    sources = ["LIDC-0001/a.png", "LIDC-0001/b.png", "LIDC-0002/a.png", "LIDC-0002/c.png", "LIDC-0003/q.png"]
    assert [guess.name for guess in names.guess(sources)] == [source.split("/")[0] for source in sources]
    assert {guess.rule for guess in names.guess(sources)} == {"folder"}


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (20, 24)).astype(np.uint8)).save(path)


def nifti(path, label=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((6, 7, 8), np.uint8) if label else RNG.integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    array[2:4, 2:4, 2:4] += label
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def patients(result):
    found = defaultdict(set)
    for row in result.rows:
        found[row.patient].add(row.source)
    return sorted(map(sorted, found.values()))


def run(tmp_path, **settings):
    return scan([tmp_path / "in"], tmp_path / "out/m.csv", **settings)


def test_a_told_patient_is_not_guessed_and_a_guess_is_said(tmp_path):
    series(tmp_path / "in/d", CUBE, PatientID="Roe")
    nifti(tmp_path / "in/sub-01/anat/sub-01_T1w.nii.gz")
    nifti(tmp_path / "in/x_T1.nii.gz")
    (tmp_path / "t.csv").write_text("id,patient\nx_T1,Q\n")
    told = run(tmp_path, table=tmp_path / "t.csv")
    assert not any(note == "patient guessed" for row in told.rows for note in row.qc)
    assert not any("patients were guessed" in notice for notice in told.notices)
    guessed = run(tmp_path)
    (row,) = (row for row in guessed.rows if "patient guessed" in row.qc)
    assert row.source == "x_T1.nii.gz"
    (notice,) = (notice for notice in guessed.notices if "patients were guessed" in notice)
    assert "1 images name no patient: 1 patients were guessed" in notice
    assert "x_T1.nii.gz -> x" in notice


def test_one_line_with_three_examples(tmp_path):
    for n in range(8):
        picture(tmp_path / f"in/p{n}_pa.png")
    (notice,) = (notice for notice in run(tmp_path).notices if "patients" in notice)
    assert notice.count("->") == 3
    assert "p0_pa.png -> p0; p1_pa.png -> p1; p2_pa.png -> p2" in notice


def test_a_pattern_tells_before_names_do(tmp_path):
    for name in ("a/k_17_x", "b/k_17_y", "b/k_18_x", "odd"):
        picture(tmp_path / f"in/{name}.png")
    result = run(tmp_path, patient_from=r"k_(\d+)")
    assert patients(result) == [["a/k_17_x.png", "b/k_17_y.png"], ["b/k_18_x.png"], ["odd.png"]]
    assert [row.source for row in result.rows if "patient guessed" in row.qc] == ["odd.png"]
    with pytest.raises(InputError, match=r"matches no path .one is a/k_17_x"):
        run(tmp_path, patient_from=r"z(\d+)")
    with pytest.raises(InputError, match="is not a regular expression"):
        run(tmp_path, patient_from="(")


def test_a_label_that_images_share_makes_them_one_patient(tmp_path):
    for name in ("qq", "rr", "ss"):
        nifti(tmp_path / f"in/{name}.nii.gz")
    nifti(tmp_path / "lab/one.nii.gz", label=True)
    (tmp_path / "t.csv").write_text("id,label\nqq,lab/one.nii.gz\nss,lab/one.nii.gz\n")
    assert patients(run(tmp_path, table=tmp_path / "t.csv")) == [["qq.nii.gz", "ss.nii.gz"], ["rr.nii.gz"]]


@pytest.mark.parametrize("ids", [["ANONYMOUS"] * 4, ["", "", "", ""], ["anon0041"] * 4, ["K9"] * 4])
def test_a_placeholder_is_no_patient(tmp_path, ids):
    for number, name in enumerate(ids):
        own = {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.3.{number}"}
        series(
            tmp_path / f"in/{'wxyz'[number]}",
            RNG.integers(0, 2000, CUBE.shape).astype(np.uint16),
            PatientID=name,
            **own,
        )
    result = run(tmp_path)
    assert len({row.patient for row in result.rows}) == 4
    assert all("patient guessed" in row.qc for row in result.rows)
    split = run(tmp_path, split=(0.5, 0.25, 0.25))
    assert sorted(row.split for row in split.rows) == ["test", "train", "train", "val"]


def test_two_studies_of_a_named_patient_stay_one(tmp_path):
    for number, name in enumerate(["A", "A", "B"]):
        own = {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.3.{number}"}
        series(tmp_path / f"in/{number}", RNG.integers(0, 2000, CUBE.shape).astype(np.uint16), PatientID=name, **own)
    assert patients(run(tmp_path)) == [["0", "1"], ["2"]]


def test_a_nifti_beside_its_dicom_is_of_that_patient(tmp_path):
    for number, name in enumerate(["A", "B"]):
        own = {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.3.{number}", "PatientID": name}
        series(tmp_path / f"in/k{name}/dicom", CUBE + number, **own)
        nifti(tmp_path / f"in/k{name}/k{name}_converted.nii.gz")
    assert patients(run(tmp_path)) == [
        ["kA/dicom", "kA/kA_converted.nii.gz"],
        ["kB/dicom", "kB/kB_converted.nii.gz"],
    ]


def test_channels_of_a_case_stay_together_in_a_split(tmp_path):
    for case in range(9):
        for channel in range(2):
            nifti(tmp_path / f"in/c{case}_{channel:04d}.nii.gz")
    for seed in range(3):
        rows = run(tmp_path, split=(0.5, 0.25, 0.25), seed=seed).rows
        assert len({(row.source[:2], row.split) for row in rows}) == 9


def test_folders_named_after_a_split_give_it(tmp_path):
    for n in range(6):
        nifti(tmp_path / f"in/imagesTr/t{n}_0000.nii.gz")
    nifti(tmp_path / "in/imagesTs/u_0000.nii.gz")
    assert [row.source for row in run(tmp_path).rows if row.split == "test"] == ["imagesTs/u_0000.nii.gz"]
    rows = run(tmp_path, split=(0.5, 0.5)).rows
    assert {row.split for row in rows if "imagesTr" in row.source} == {"train", "val"}
    assert [row.source for row in rows if row.split == "test"] == ["imagesTs/u_0000.nii.gz"]


def test_a_split_of_too_few_patients_is_refused_before_anything_is_written(tmp_path):
    for name in ("T1", "FLAIR"):
        nifti(tmp_path / f"in/p1_{name}.nii.gz")
    with pytest.raises(InputError, match="leaves val and test empty with only 1 patient"):
        run(tmp_path, split=(0.6, 0.2, 0.2))
    assert not list((tmp_path / "out").iterdir())
