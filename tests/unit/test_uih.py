"""UIH grids: tiles of one picture with positions of their own."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_writer import _item, write

from medssl.data.read import dicom
from medssl.data.reject import Rejected

TILES = np.random.default_rng(0).integers(0, 999, (7, 4, 6)).astype(np.uint16)


def grid(path, positions):
    """7 tiles of 4 x 6 in 3 columns and 3 rows, as UIH scanners write them."""
    picture = np.zeros((9, 4, 6), np.uint16)
    picture[:7] = TILES
    picture = picture.reshape(3, 3, 4, 6).swapaxes(1, 2).reshape(12, 18)
    write(path, picture, Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"], PixelSpacing=[1.5, 2.5],
          ImageOrientationPatient=[1, 0, 0, 0, 1, 0])  # fmt: skip

    data = pydicom.dcmread(path)
    block = data.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", str(len(positions)))
    block.add_new(0x51, "SQ", [_item(ImagePositionPatient=place) for place in positions])
    data.save_as(path)
    return path


def test_tiles_become_slices_where_they_say_they_lie(tmp_path):
    path = grid(tmp_path / "g", [[-9, -8, 3.0 * n] for n in range(7)])
    (image,), rejected = dicom.group([path])
    volume = dicom.read(image.files, image.frames)
    assert rejected == []
    np.testing.assert_array_equal(volume.array[0], TILES)
    assert volume.spacing == pytest.approx((3.0, 1.5, 2.5))
    np.testing.assert_allclose(volume.affine @ [2, 1, 3, 1], [9 - 3 * 2.5, 8 - 1.5, 6, 1])


def test_each_file_is_a_volume(tmp_path):
    paths = [grid(tmp_path / name, [[-9, -8, 3.0 * n] for n in range(7)]) for name in "ab"]
    assert len(dicom.group(paths)[0]) == 2


def test_uneven_tiles_are_refused_and_so_are_grids_that_do_not_say_where_they_lie(tmp_path):
    with pytest.raises(Rejected, match="uneven slice spacing"):
        dicom.read([grid(tmp_path / "a", [[0, 0, z] for z in (0, 1, 2, 3, 4, 5, 9)])])
    path = write(tmp_path / "b", TILES[0], Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"])
    assert dicom.group([path])[1][0][1] == "vendor mosaic"
