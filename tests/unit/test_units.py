"""Units of values and of length: what is not what a preset takes it for is refused, or said."""

from __future__ import annotations

import gzip
import re

import nibabel
import numpy as np
import pytest
from dicom_writer import series

from medssl.data import manifest, reject
from medssl.data.grid import to_array
from medssl.data.phantom.volumes import ct_case
from medssl.data.prepare import prepare
from medssl.data.preparing.select import select
from medssl.data.preparing.settings import settings
from medssl.data.preparing.units import check_hounsfield, looks_like_ct
from medssl.data.read import nifti
from medssl.data.read.volume import make
from medssl.data.reject import Rejected
from medssl.data.scan.scan import scan
from medssl.types import InputError

HU = np.maximum(ct_case(np.random.default_rng(0), (20, 32, 32), "dark")[0], -1024).astype(np.int16)
UNIT = np.clip((HU + 1000.0) / 2000, 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("array", "rescale", "looks"),
    [
        (UNIT, (2000, -1000), r"scaled to \[0, 1\].*--rescale SLOPE,INTERCEPT, e.g. 2000,-1000"),
        (2 * UNIT - 1, (1000, 0), r"scaled to \[-1, 1\].*e.g. 1000,0"),
        (np.rint(255 * UNIT).astype(np.uint8), (7.843, -1000), r"from 0 to 255.*e.g. 7.843,-1000"),
        ((HU + 1024).astype(np.uint16), (1, -1024), r"before rescaling.*--rescale 1,-1024"),
        (np.where(HU > -999, HU + 1024, -2000).astype(np.int16), (1, -1024), "before rescaling"),
    ],
)
def test_what_is_no_hounsfield_unit_is_refused_and_the_option_mends_it(array, rescale, looks):
    with pytest.raises(Rejected, match=looks):
        to_array(make(array[None], np.eye(4), "CT"), settings("ct", [(1, 1, 1)]))
    mended, geometry = to_array(make(array[None], np.eye(4), "CT"), settings("ct", [(1, 1, 1)], rescale=rescale))
    by_hand = np.rint(array.astype(np.float64) * rescale[0] + rescale[1])
    wanted, _ = to_array(make(by_hand[None], np.eye(4), "CT"), settings("ct", [(1, 1, 1)], rescale=(1, 0)))
    assert np.abs(mended.astype(int) - wanted).max() <= 1
    assert geometry["intensity"] == [(-1000.0, 1000.0)]


@pytest.mark.parametrize("low", [-1024, -160, -2000])
def test_hounsfield_units_pass(low):
    check_hounsfield(np.maximum(HU, low) if low > -1000 else np.where(HU < -999, low, HU))


def test_a_guess_of_ct_by_values():
    assert looks_like_ct(HU)
    assert not looks_like_ct(HU + 1024)
    assert not looks_like_ct(np.random.default_rng(0).normal(size=(20, 20, 20)))
    assert not looks_like_ct(np.abs(HU))


def save(path, array=HU, affine=None, unit=None, forms=None):
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([1.0, 1, 2, 1]) if affine is None else affine)
    if unit:
        image.header.set_xyzt_units(unit)
    if forms:
        image.set_sform(forms[0], 1)
        image.set_qform(forms[1], 1)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)])
def test_the_unit_of_the_header_is_obeyed(tmp_path, unit, scale):
    volume = nifti.read(save(tmp_path / "a.nii.gz", affine=np.diag([scale, scale, 2 * scale, 1]), unit=unit))
    np.testing.assert_allclose(volume.spacing, (2, 1, 1), rtol=1e-5)
    assert volume.notes == ((f"unit {unit}",) if scale != 1 else ())


def test_odd_grids_are_refused_or_noted(tmp_path):
    sheared = np.eye(4)
    sheared[0, 2] = 0.3
    with pytest.raises(Rejected, match=r"sheared grid: its axes are 73\.\d degrees apart"):
        nifti.read(save(tmp_path / "s.nii", affine=sheared))
    moved = np.eye(4)
    moved[0, 3] = 12
    volume = nifti.read(save(tmp_path / "f.nii", forms=(np.eye(4), moved)))
    assert volume.notes == ("sform and qform 12 mm apart, sform used",)
    assert nifti.read(save(tmp_path / "e.nii", forms=(moved, moved))).notes == ()
    found = scan([tmp_path / "f.nii"], tmp_path / "m.csv")
    assert "sform and qform 12 mm apart, sform used" in found.rows[0].qc


@pytest.mark.parametrize(("spacing", "why"), [((60.0, 60, 60), "too coarse"), ((0.005, 0.005, 0.005), "too fine")])
def test_a_resampling_that_cannot_be_meant_is_refused_with_the_numbers(spacing, why):
    volume = make(HU[None], np.eye(4)[[2, 1, 0, 3]], "CT")
    with pytest.raises(Rejected, match=f"spacing {why} for this image: .* voxels of 1 x 1 x 1 mm would become"):
        to_array(volume, settings("ct", [(1, 1, 1)], spacing))


def test_a_flipped_byte_in_a_packed_file_is_noticed(tmp_path):
    path = save(tmp_path / "a.nii.gz")
    plain = bytearray(gzip.decompress(path.read_bytes()))
    packed = gzip.compress(bytes(plain))
    path.write_bytes(packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:])  # its checksum no longer fits
    with pytest.raises(Rejected, match="cannot be read"):
        nifti.read(path)


def test_what_unpacks_to_much_more_is_refused_unread(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz", np.zeros((200, 256, 256), np.int16) + 5)
    monkeypatch.setattr(reject, "UNPACKED", 2**20)
    monkeypatch.setattr(nifti, "_scaled", lambda image: pytest.fail("was read"))
    with pytest.raises(Rejected, match="too large: 0 MiB that unpack to 25 MiB"):
        nifti.read(path)
    image = nibabel.load(path)
    image.header.set_data_shape((2000, 2000, 2000))
    (tmp_path / "b.nii").write_bytes(image.header.binaryblock + b"\0" * 100)
    with pytest.raises(Rejected, match=r"its shape \(2000, 2000, 2000\) needs 16000000000"):
        nifti.read(tmp_path / "b.nii")


@pytest.fixture
def mixed(tmp_path):
    """Two CT, one MR and one NM series, and a NIfTI that does not tell."""
    cube = np.random.default_rng(0).integers(0, 900, (9, 8, 10)).astype(np.int16)
    cube[:, 0] = -1000
    for number, (name, slices) in enumerate([("CT", 9), ("CT", 4), ("MR", 9)]):
        own = {
            "SeriesInstanceUID": f"1.{number}",
            "Modality": name,
            "SeriesDescription": f"Axial {'bone brain soft'.split()[number]} Mr^Kowalczyk 12.03.1975",
        }
        series(tmp_path / f"in/{number}", cube[:slices] + number, **own)
    save(tmp_path / "in/x.nii.gz", np.abs(HU))
    return scan([tmp_path / "in"], tmp_path / "m.csv").manifest


def test_one_modality_per_cache_with_the_command_for_each(mixed, tmp_path):
    with pytest.raises(InputError) as caught:
        prepare(mixed.path, tmp_path / "c", preset="ct")
    said = str(caught.value)
    assert "m.csv holds 2 CT, 1 MR, 1 OT, but preset ct is for CT" in said
    for name, preset in (("CT", "ct"), ("MR", "mr")):
        assert f"`medssl prepare m.csv --preset {preset} --modality {name} --out cache-{preset}`" in said
    assert not (tmp_path / "c").exists()
    cache = prepare(mixed.path, tmp_path / "c", preset="ct", modality="CT")
    assert [case.modality for case in cache.cases.values()] == ["CT", "CT"]
    assert sorted(cache.rejected.values()) == ["modality MR, not CT", "modality OT, not CT"]


def test_images_are_chosen_by_slices_and_description(mixed):
    assert {row.modality for row in mixed.rows} == {"CT", "MR", "OT"}
    found = manifest.read(mixed.path)
    rows, left = select(found, min_slices=9)
    assert (len(rows.rows), list(left.values())) == (3, ["fewer than 9 slices"])
    rows, _ = select(found, description="Axial (bone|soft)")
    assert sorted(row.source for row in rows.rows) == ["0", "2"]
    entries = mixed.path.with_suffix(".files.jsonl").read_text()  # ids are random, and may hold any two digits
    assert not re.search("Kowal|1975", entries)
    assert not re.search("12", " ".join(re.findall('"description": "(.*?)"', entries)))
    for wrong, told in (({"description": "("}, "not a regular expression"), ({"modality": "US"}, "no image of")):
        with pytest.raises(InputError, match=told):
            select(found, **wrong)


def test_the_user_tells_the_modality_of_files_that_do_not(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in/a.nii.gz")
    (guess,) = (found := scan([tmp_path / "in"], tmp_path / "m.csv")).rows
    assert (guess.modality, "modality guessed" in guess.qc) == ("CT", True)
    assert "1 images are taken for CT because of their values: give --modality if they are not" in found.notices
    (told,) = scan([tmp_path / "in"], tmp_path / "n.csv", modality="mri").rows
    assert (told.modality, "modality guessed" in told.qc) == ("MR", False)
