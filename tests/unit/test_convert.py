from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pytest

from medssl.data.convert import convert
from medssl.data.phantom.cases import ct_case, write_ct_dataset
from medssl.data.scan.scan import scan
from medssl.types import InputError


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_ct_dataset(folder, 4, (10, 12, 14), 0)
    return scan([folder / "images"], folder / "m.csv", labels=folder / "labels")


def test_each_image_keeps_its_grid_values_and_label(scanned, tmp_path):
    seen = []
    written = convert(scanned.manifest.path, tmp_path, progress=lambda *step: seen.append(step))
    assert [file.name for file in written] == [f"{row.id}.nii.gz" for row in scanned.rows]
    assert seen == [("convert", done, 4) for done in (1, 2, 3, 4)]
    phantoms = [ct_case(np.random.default_rng([0, i]), (10, 12, 14), ("dark", "bright")[i % 2]) for i in range(4)]
    sums = {int(image.astype(int).sum()): (image, label) for image, label in phantoms}
    for row, file in zip(scanned.rows, written, strict=True):
        image, label = (nib.load(tmp_path / f"{row.id}{end}.nii.gz") for end in ("", "_label"))
        values, mask = sums[int(image.get_fdata().sum())]  # rescaled to HU, also from DICOM
        canonical = nib.as_closest_canonical(image), nib.as_closest_canonical(label)
        np.testing.assert_array_equal(canonical[0].get_fdata().transpose(2, 1, 0), values)
        np.testing.assert_array_equal(canonical[1].get_fdata().transpose(2, 1, 0), mask)
        np.testing.assert_allclose(canonical[0].affine, canonical[1].affine, atol=1e-3)
        assert file.is_file()


def test_a_lost_image_costs_itself_and_all_lost_is_an_error(tmp_path):
    write_ct_dataset(tmp_path, 3, (8, 8, 8), 1)
    found = scan([tmp_path / "images"], tmp_path / "m.csv")
    (tmp_path / "images" / "case_000.nii.gz").unlink()
    assert len(convert(tmp_path / "m.csv", tmp_path / "out")) == 2
    with (tmp_path / "out" / "rejected.csv").open() as stream:
        (rejected,) = csv.DictReader(stream)
    assert rejected["reason"] == "file is gone"
    assert rejected["id"] in {row.id for row in found.rows}
    for file in (tmp_path / "images").rglob("case_*"):
        if file.is_file():
            file.unlink()
    for file in (tmp_path / "images").rglob("*.dcm"):
        file.unlink()
    with pytest.raises(InputError, match=r"none of 3 images could be written .the first: file is gone"):
        convert(tmp_path / "m.csv", tmp_path / "again")


def test_a_file_in_the_way_is_one_sentence(scanned, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        convert(scanned.manifest.path, tmp_path / "out")


@pytest.mark.parametrize(("top", "kind"), [(70000, np.int32), (2**40, np.float64), (900, np.int16)])
def test_integers_of_64_bits_become_a_type_that_readers_know(tmp_path, top, kind):
    values = np.random.default_rng(0).integers(0, top, (6, 7, 8))
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(values, np.eye(4), dtype=np.int64), tmp_path / "in/a.nii.gz")
    found = scan([tmp_path / "in"], tmp_path / "m.csv")
    (file,) = convert(found.manifest.path, tmp_path / "out")
    assert nib.load(file).get_data_dtype() == kind
    np.testing.assert_array_equal(nib.load(file).get_fdata(), values)
