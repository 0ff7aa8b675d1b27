"""Formats beside DICOM and NIfTI: NRRD, MetaImage, TIFF stacks, NumPy arrays, and time points of 4D NIfTI."""

import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from medssl.data.read import nifti, reader
from medssl.data.reject import Rejected
from medssl.data.scan.scan import scan
from medssl.types import InputError

RNG = np.random.default_rng(0)
OBLIQUE = np.array([[0.8, -0.36, 0.48], [0.6, 0.48, -0.64], [0.0, 0.8, 0.6]])  # columns: x, y, z in LPS


def itk(path, array, direction=OBLIQUE, spacing=(0.8, 0.5, 2.5), origin=(-10, -20, 30)):
    image = SimpleITK.GetImageFromArray(array)
    image.SetDirection(np.asarray(direction).ravel().tolist())
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    SimpleITK.WriteImage(image, str(path))
    return image


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("direction", [OBLIQUE, np.diag([-1.0, -1, 1]), np.diag([1.0, -1, -1])])
def test_every_voxel_lies_where_simpleitk_says(tmp_path, name, direction):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = itk(tmp_path / name, array, direction)
    volume = reader.read(tmp_path / name)
    np.testing.assert_array_equal(volume.array[0], array)
    for z, y, x in [(0, 0, 0), (2, 3, 4), (1, 0, 4)]:
        lps = np.array(image.TransformIndexToPhysicalPoint((x, y, z)))
        np.testing.assert_allclose((volume.affine @ [z, y, x, 1])[:3], lps * [-1, -1, 1], atol=1e-4)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.5, 0.8), rtol=1e-5)


def test_nrrd_and_nifti_of_one_image_are_the_same(tmp_path):
    image = itk(tmp_path / "a.nrrd", RNG.integers(0, 99, (3, 4, 5)).astype(np.int16))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nii.gz"))
    one, other = reader.read(tmp_path / "a.nrrd"), reader.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda path: path.write_bytes(b"NRRD0004\nnothing"), "cannot be read"),
        (lambda path: itk_colours(path), "not a scalar image"),
        (lambda path: path.write_bytes(huge()), "too large"),
    ],
)
def test_bad_nrrd_is_refused(tmp_path, made, reason):
    made(tmp_path / "a.nrrd")
    with pytest.raises(Rejected) as caught:
        reader.read(tmp_path / "a.nrrd")
    assert caught.value.reason == reason
    assert str(tmp_path) not in caught.value.detail


def itk_colours(path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), str(path))


def huge():
    return b"NRRD0004\ntype: short\ndimension: 3\nsizes: 9000 9000 9000\nencoding: raw\nendian: little\n\n" + b"\0" * 99


def test_simpleitk_is_imported_only_where_it_is_used():
    code = "import sys, medssl.data.scan.scan, medssl.data.prepare; assert 'SimpleITK' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arrays_and_tiff_stacks_are_volumes(tmp_path):
    array = RNG.integers(0, 999, (4, 5, 6)).astype(np.uint16)
    np.save(tmp_path / "a.npy", array)
    pages = [Image.fromarray(page) for page in array]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    for name in ("a.npy", "b.tif"):
        volume = reader.read(tmp_path / name)
        np.testing.assert_array_equal(volume.array[0], array)
        assert not volume.spacing_known
        assert (volume.affine @ [1, 0, 0, 1] - volume.affine @ [0, 0, 0, 1])[2] == 1  # slices go up


def test_odd_arrays_and_pages_are_refused(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object))
    np.save(tmp_path / "line.npy", np.zeros(5))
    Image.new("L", (8, 8)).save(tmp_path / "p.tif", save_all=True, append_images=[Image.new("L", (4, 4))])
    told = {}
    for name in ("object.npy", "line.npy", "p.tif"):
        with pytest.raises(Rejected) as caught:
            reader.read(tmp_path / name)
        told[name] = caught.value.reason
    assert told == {
        "object.npy": "cannot be read",
        "line.npy": "not an array of 2 or 3 dimensions",
        "p.tif": "pages are not the slices of a volume",
    }


class TestFrames:
    @pytest.fixture
    def series(self, tmp_path):
        (tmp_path / "in").mkdir()
        array = RNG.integers(0, 999, (6, 7, 8, 3)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "in/sub-01_bold.nii.gz")
        nibabel.save(nibabel.Nifti1Image(array[..., 0] + 1, np.eye(4)), tmp_path / "in/sub-02_bold.nii.gz")
        return array.transpose(3, 2, 1, 0)

    def read(self, tmp_path, how):
        found = scan([tmp_path / "in"], tmp_path / "out/m.csv", frames=how)
        rows = [row for row in found.rows if "sub-01" in row.source]
        assert len(found.rows) == len(rows) + 1
        assert len({row.patient for row in rows}) == min(1, len(rows))
        return [reader.load(found.manifest, row).array[0] for row in rows]

    def test_first_mean_and_each(self, tmp_path, series):
        (first,) = self.read(tmp_path, "first")
        np.testing.assert_array_equal(first, series[0])
        (mean,) = self.read(tmp_path, "mean")
        np.testing.assert_allclose(mean, series.mean(0), rtol=1e-6)
        for one, expected in zip(self.read(tmp_path, "each"), series, strict=True):
            np.testing.assert_array_equal(one, expected)

    def test_without_the_option_the_reason_names_it(self, tmp_path, series):
        assert self.read(tmp_path, None) == []
        with pytest.raises(Rejected, match="scan --frames first"):
            nifti.read(tmp_path / "in/sub-01_bold.nii.gz")

    def test_another_word_is_refused(self, tmp_path, series):
        with pytest.raises(InputError, match="--frames last is not one of first, mean, each"):
            self.read(tmp_path, "last")
