import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medssl.data.read import image
from medssl.data.reject import Rejected


def save(path, array, mode=None):
    Image.fromarray(array, mode).save(path)
    return path


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("png", np.uint8), ("png", np.uint16), ("tif", np.uint8), ("tif", np.uint16)]
)
def test_gray_pictures_keep_every_bit(tmp_path, suffix, dtype):
    array = np.linspace(0, np.iinfo(dtype).max, 20).reshape(4, 5).astype(dtype)
    volume = image.read(save(tmp_path / f"a.{suffix}", array))
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, array[None])
    assert volume.spacing == (1.0, 1.0)
    assert not volume.spacing_known


def test_colour_comes_channel_first_and_without_alpha(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (4, 5, 4)).astype(np.uint8)
    volume = image.read(save(tmp_path / "a.png", array))
    np.testing.assert_array_equal(volume.array, array[..., :3].transpose(2, 0, 1))


def test_gray_with_alpha_becomes_gray(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (4, 5, 2)).astype(np.uint8)
    np.testing.assert_array_equal(image.read(save(tmp_path / "a.png", array)).array[0], array[..., 0])


def test_a_palette_is_looked_up_for_images_and_kept_as_numbers_for_labels(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255] + [0] * 759)
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(image.read(tmp_path / "a.png").array[:, 0, 1], [255, 0, 0])
    np.testing.assert_array_equal(image.read(tmp_path / "a.png", label=True).array, [[[0, 1], [2, 1]]])


def test_header_is_the_shape(tmp_path):
    found = image.header(save(tmp_path / "a.jpg", np.zeros((4, 5), np.uint8)))
    assert found.shape == (4, 5)
    assert found.integer


def test_a_label_saved_as_equal_colours_is_one_channel(tmp_path):
    gray = np.array([[0, 3], [3, 0]], np.uint8)
    path = save(tmp_path / "a.png", np.repeat(gray[..., None], 3, -1))
    np.testing.assert_array_equal(image.read(path, label=True).array, gray[None])


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty file"), (b"hello", "not a readable image"), (None, "cannot be read")]
)
def test_broken_files_say_why(tmp_path, content, reason):
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(Rejected) as caught:
        image.read(path)
    assert caught.value.reason == reason


def test_a_coloured_label_is_refused(tmp_path):
    path = save(tmp_path / "a.png", np.eye(3, dtype=np.uint8)[None].repeat(2, 0) * 255)
    with pytest.raises(Rejected, match="one channel"):
        image.read(path, label=True)


def test_pages_of_several_sizes_are_refused(tmp_path):
    pages = [Image.fromarray(np.full((4, 4 + n), n, np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(Rejected, match="3 pages"):
        image.read(tmp_path / "a.tif")


def test_a_picture_is_read_upright(tmp_path):
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(image.read(tmp_path / "a.png").array[0], np.rot90(stored, -1))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colours_of_16_bits_keep_them(tmp_path, name):
    import SimpleITK

    colours = np.random.default_rng(0).integers(0, 2**16, (5, 7, 3)).astype(np.uint16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), str(tmp_path / name))
    found = image.read(tmp_path / name).array
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, colours.transpose(2, 0, 1))


def test_a_header_that_promises_far_more_than_the_file_holds_is_refused_unread(tmp_path):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    head = b"IHDR" + struct.pack(">2I", 12000, 14000) + content[24:29]
    (tmp_path / "a.png").write_bytes(content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:])
    with pytest.raises(Rejected) as caught:
        image.read(tmp_path / "a.png")
    assert caught.value.reason == "too large"
