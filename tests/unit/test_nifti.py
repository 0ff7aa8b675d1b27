import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.testing import data_path

from medssl.data.read import nifti
from medssl.data.reject import Rejected


def save(path, array, affine=None, **header):
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def reason(path, **settings):
    with pytest.raises(Rejected) as caught:
        nifti.read(path, **settings)
    return caught.value.reason


def test_index_order_is_reversed_and_the_affine_follows(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)  # x, y, z
    turn = np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]])
    affine = nibabel.affines.from_matvec(turn @ np.diag([-2.0, 3, 4]), [9, 8, 7])
    volume = nifti.read(save(tmp_path / "a.nii.gz", array, affine))
    assert volume.array.shape == (1, 4, 3, 2)
    assert volume.array.dtype == np.int16
    assert volume.array[0, 3, 1, 0] == array[0, 1, 3]
    np.testing.assert_allclose(volume.affine @ [3, 1, 0, 1], affine @ [0, 1, 3, 1], atol=1e-6)
    np.testing.assert_allclose(volume.spacing, np.linalg.norm(affine[:3, 2::-1], axis=0), rtol=1e-6)


def test_shipped_nibabel_file_agrees_with_nibabel():
    path = Path(data_path) / "anatomical.nii"
    volume, image = nifti.read(path), nibabel.load(path)
    np.testing.assert_array_equal(volume.array[0], np.asarray(image.dataobj).transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine[:, [2, 1, 0, 3]], image.affine)


def test_scaled_voxels_come_out_in_their_units(tmp_path):
    image = nibabel.Nifti1Image(np.array([[[10, 20], [30, 40]]], np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    expected = np.asarray(image.dataobj)[0].T.ravel()
    volume = nifti.read(tmp_path / "a.nii")
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array.ravel(), expected)


def test_write_then_read_is_the_same(tmp_path):
    array, affine = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.diag([3.0, 2.0, 1.0, 1.0])[[2, 1, 0, 3]]
    nifti.write(tmp_path / "a.nii.gz", array, affine)
    volume = nifti.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array[0], array)
    np.testing.assert_allclose(volume.affine, affine)


def test_a_written_picture_keeps_its_pixel_size(tmp_path):
    nifti.write(tmp_path / "a.nii.gz", np.arange(6, dtype=np.uint8).reshape(2, 3), np.diag([0.2, 0.3, 1.0]))
    volume = nifti.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, [[[0, 1, 2], [3, 4, 5]]])
    np.testing.assert_allclose(volume.spacing, (0.2, 0.3), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_a_picture(tmp_path, axis):
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    volume = nifti.read(save(tmp_path / "a.nii", np.expand_dims(array, axis), np.diag([2.0, 3.0, 4.0, 1.0])))
    np.testing.assert_array_equal(volume.array, array.T[None])
    assert volume.spacing == tuple(np.delete([2.0, 3.0, 4.0], axis)[::-1])


def test_a_last_dimension_of_one_is_dropped(tmp_path):
    assert nifti.read(save(tmp_path / "a.nii.gz", np.ones((2, 3, 4, 1), np.int16))).array.shape == (1, 4, 3, 2)


def test_header_tells_the_shape_without_voxels(tmp_path):
    path = save(tmp_path / "a.nii", np.ones((2, 3, 4), np.int16))
    path.write_bytes(path.read_bytes()[:352])  # header only
    assert nifti.header(path).shape == (4, 3, 2)
    assert nifti.header(path).integer


def test_labels_are_whole_numbers_in_a_small_type(tmp_path):
    label = nifti.read(save(tmp_path / "a.nii.gz", np.array([[0.0, 2.0], [1.0, 300.0]], np.float32)), label=True)
    assert label.array.dtype == np.uint16
    half = save(tmp_path / "b.nii.gz", np.array([[0.5, 1.0], [1.0, 0.0]], np.float32))
    assert reason(half, label=True) == "label is not integers"


class TestRejected:
    def test_text_named_nifti(self, tmp_path):
        (tmp_path / "a.nii.gz").write_text("not an image")
        assert reason(tmp_path / "a.nii.gz") == "not a NIfTI"

    def test_text_inside_gzip(self, tmp_path):
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"text" * 200))
        assert reason(tmp_path / "a.nii.gz") == "not a NIfTI"

    def test_empty(self, tmp_path):
        (tmp_path / "a.nii").touch()
        assert reason(tmp_path / "a.nii") == "empty file"

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_cut_short(self, tmp_path, name):
        noise = np.random.default_rng(0).integers(0, 1000, (16, 16, 16)).astype(np.int16)
        path = save(tmp_path / name, noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert reason(path) == "cannot be read"

    def test_time_series(self, tmp_path):
        assert reason(save(tmp_path / "a.nii", np.ones((2, 2, 2, 3), np.int16))) == "more than 3 dimensions"

    def test_one_line_of_voxels(self, tmp_path):
        assert reason(save(tmp_path / "a.nii", np.ones((1, 5, 1), np.int16))) == "fewer than 2 dimensions"

    def test_affine_without_numbers(self, tmp_path):
        affine = np.eye(4)
        affine[0, 3] = np.nan
        assert reason(save(tmp_path / "a.nii", np.ones((2, 2, 2), np.int16), affine)) == "broken affine"

    @pytest.mark.parametrize(("kept", "gone"), [("a.img", "a.hdr"), ("a.hdr", "a.img")])
    def test_half_an_analyze_pair(self, tmp_path, kept, gone):
        nibabel.save(nibabel.AnalyzeImage(np.ones((2, 2, 2), np.int16), np.eye(4)), tmp_path / "a.img")
        assert nifti.read(tmp_path / kept).array.shape == (1, 2, 2, 2)
        (tmp_path / gone).unlink()
        assert reason(tmp_path / kept) == "half of an Analyze pair"

    def test_colours(self, tmp_path):
        rgb = np.zeros((2, 2, 2), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        assert reason(save(tmp_path / "a.nii", rgb)) == "not a scalar image"


@pytest.mark.parametrize("form", ["none", "qform", "sform"])
@pytest.mark.parametrize("sizes", [(0, 1, 1), (0, 0, 0), (float("nan"), 1, 1), (-1, 1, 1), (3, 1, 1), (1, 1, 2)])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_a_voxel_size_that_is_none_is_refused_or_noted_never_1_mm_unseen(tmp_path, form, sizes, ending):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 1, 2, 1]))
    content = bytearray(image.to_bytes())
    struct.pack_into("<3f", content, 80, *sizes)
    struct.pack_into("<2h", content, 252, form == "qform", form == "sform")
    path = tmp_path / f"a.{ending}"
    path.write_bytes(gzip.compress(bytes(content)) if ending.endswith("gz") else bytes(content))
    sound = all(size != 0 and np.isfinite(size) for size in sizes)
    if not sound and form != "sform":
        with pytest.raises(Rejected) as caught:
            nifti.read(path)
        assert caught.value.reason == "no voxel size"
        return
    volume = nifti.read(path)
    told = any(note.startswith("pixdim ") for note in volume.notes)
    assert told == (sizes == (-1, 1, 1) or (form == "sform" and sizes != (1, 1, 2)))
    assert volume.spacing == ((2, 1, 1) if form == "sform" else tuple(np.abs(sizes[::-1])))
