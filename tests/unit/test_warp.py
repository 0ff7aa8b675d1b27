"""The resampling pass: exact where the map is exact, equal to torch elsewhere, and physical in its units."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates, zoom

from medssl.data.phantom.cases import ct_case
from medssl.transforms.resampling.displacement import draw_elastic, evaluate
from medssl.transforms.resampling.on_device import warp_torch
from medssl.transforms.resampling.reach import box
from medssl.transforms.resampling.warp import Warp, WarpSettings, compose, draw_warp, warp
from medssl.types import InputError, Window

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = WarpSettings(flip=(0.5, 0.5, 0.5), rotate=(20.0, 20.0, 20.0), zoom=0.2, elastic=4.0, turn=True)
ALL_2D = ALL._replace(flip=(0.5, 0.5), rotate=(180.0,))


def whole(shape: tuple[int, ...]) -> Window:
    return Window((0,) * len(shape), shape)


def positions(w: Warp) -> np.ndarray:
    """Source position (n,*size) of every output voxel, by scipy: nothing of the kernel's own arithmetic."""
    index = np.indices(w.size).reshape(len(w.size), -1)
    found = w.matrix @ index + w.offset[:, None]
    if w.control is not None:
        step = [(g - 1) / max(s - 1, 1) for g, s in zip(w.control.shape[1:], w.size, strict=True)]
        at = index * np.array(step)[:, None]
        found += np.stack([map_coordinates(c.astype(float), at, order=1, mode="nearest") for c in w.control])
    return found.reshape(-1, *w.size)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.uint16])
def test_identity_flips_and_turns_move_voxels_exactly(dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 200, (2, 5, 5, 5)).astype(dtype)
    spacing = (1.0, 1.0, 1.0)
    for flip in [(False,) * 3, (True, False, False), (False, True, True)]:
        moved = warp(x, compose(whole(x.shape[1:]), (5, 5, 5), spacing, flip=flip))
        expected = np.flip(x, [i + 1 for i in range(3) if flip[i]])
        assert moved.dtype == np.float32
        np.testing.assert_array_equal(moved, expected.astype(np.float32))
    for turn in range(4):
        moved = warp(x, compose(whole(x.shape[1:]), (5, 5, 5), spacing, turn=turn))
        np.testing.assert_array_equal(moved, np.rot90(x, turn, (2, 3)))


def test_hand_case_linear_nearest_and_fill() -> None:
    x = np.array([[[0, 10], [20, 30]]], np.int16)
    w = Warp(np.diag([0.5, 1.0]), np.array([0.25, 0.25]), None, (2, 2))
    # rows 0.25 and 0.75, columns 0.25 and 1.25 (1.25 is beyond the last: the edge)
    np.testing.assert_allclose(warp(x, w)[0], [[7.5, 15.0], [17.5, 25.0]])
    np.testing.assert_array_equal(warp(x, w, order=0)[0], [[0, 10], [20, 30]])
    far = w._replace(offset=np.array([0.25, 0.75]))  # columns 0.75 and 1.75: more than half a voxel outside
    np.testing.assert_allclose(warp(x, far, fill=-5)[0], [[12.5, -5], [22.5, -5]])
    np.testing.assert_array_equal(warp(x, far, order=0, fill=7)[0], [[10, 7], [30, 7]])


@pytest.mark.parametrize("seed", range(4))
def test_equals_torch_grid_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for shape, size, settings in [((30, 41, 37), (24, 20, 28), ALL), ((60, 71), (50, 64), ALL_2D)]:
        x = rng.random((2, *shape), dtype=np.float32)
        window = Window(tuple(s // 5 for s in shape), tuple(s // 2 for s in shape))
        w, _ = draw_warp(rng, window, size, (1.5,) + (0.8,) * (len(shape) - 1), settings)
        np.testing.assert_allclose(warp(x, w), warp_torch(torch.from_numpy(x), w).numpy(), atol=1e-4)


def test_resize_equals_interpolation_of_half_pixel_centres() -> None:
    x = np.random.default_rng(0).random((1, 12, 10, 14), dtype=np.float32)
    resized = warp(x, compose(whole((12, 10, 14)), (18, 9, 20), (1.0, 2.0, 3.0)))
    expected = torch.nn.functional.interpolate(torch.from_numpy(x)[None], (18, 9, 20), mode="trilinear")[0]
    np.testing.assert_allclose(resized, expected.numpy(), atol=1e-5)


def test_types_agree_and_channels_share_the_map() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 255, (3, 20, 22, 24))
    w, _ = draw_warp(rng, whole((20, 22, 24)), (16, 16, 16), (1.0, 1.0, 1.0), ALL)
    results = [warp(x.astype(t), w) for t in (np.uint8, np.int16, np.float32, np.float64, np.int64)]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    np.testing.assert_array_equal(results[0][1], warp(x[1:2].astype(np.uint8), w)[0])
    one = (warp(x[1:2].astype(np.float16), w)[0], results[0][1])
    np.testing.assert_array_equal(*one)


def test_labels_stay_in_the_label_set_and_lie_where_the_image_does() -> None:
    image, label = ct_case(np.random.default_rng(2), (24, 40, 40))
    label = (image > 100).astype(np.uint8) * 7 + label
    w, _ = draw_warp(np.random.default_rng(3), whole(label.shape), (32, 32, 32), (2.0, 1.0, 1.0), ALL)
    moved = warp(label[None], w, order=0)
    assert moved.dtype == np.uint8
    assert set(np.unique(moved)) <= set(np.unique(label))
    nearest = np.floor(positions(w) + 0.5).astype(int)
    top = np.array(label.shape)[:, None, None, None] - 1
    agree = moved[0] == label[tuple(np.clip(nearest, 0, top))]
    assert agree.mean() > 0.9999  # float32 positions may fall on the other side of a tie


def test_only_the_region_the_map_touches_is_read() -> None:
    class Array:
        def __init__(self, x: np.ndarray) -> None:
            self.x, self.shape, self.read = x, x.shape, 0

        def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
            self.read += self.x[box].size
            return self.x[box]

    x = np.random.default_rng(0).integers(0, 1000, (1, 60, 60, 60)).astype(np.int16)
    window = Window((10, 20, 30), (16, 16, 16))
    source, w = Array(x), compose(window, (16, 16, 16), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(warp(source, w), x[:, 10:26, 20:36, 30:46])
    assert source.read == 16**3
    for seed in range(10):
        w, _ = draw_warp(np.random.default_rng(seed), window, (16, 16, 16), (1.0, 1.0, 1.0), ALL)
        low, high = box(w.matrix, w.offset, w.control, w.size, (60, 60, 60), (0, 0, 0))
        at = np.clip(positions(w).reshape(3, -1), 0, 59)
        assert (np.floor(at.min(1)) >= low).all()
        assert (np.ceil(at.max(1)) < high).all()


def test_nan_stays_visible_and_does_not_spread_further() -> None:
    x = np.ones((1, 9, 9, 9), np.float32)
    x[0, 4, 4, 4] = np.nan
    w, _ = draw_warp(np.random.default_rng(0), whole((9, 9, 9)), (20, 20, 20), (1.0, 1.0, 1.0), ALL)
    bad = np.isnan(warp(x, w)[0])
    near = (np.abs(positions(w) - 4) < 1).all(0)
    assert bad[near].all()
    assert not bad[(np.abs(positions(w) - 4) > 1.001).any(0)].any()
    assert np.isfinite(warp(x, w)[0][~bad]).all()


@pytest.mark.parametrize("shape", [(1, 20, 20), (20, 1, 20), (20, 20, 1), (1, 1, 1), (3, 2, 4)])
def test_thin_and_small_volumes_give_what_they_hold(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    for seed in range(3):
        w, _ = draw_warp(np.random.default_rng(seed), whole(shape), (8, 8, 8), (1.0, 1.0, 1.0), ALL)
        moved = warp(x, w)
        np.testing.assert_allclose(moved, warp_torch(torch.from_numpy(x), w).numpy(), atol=1e-5)
        assert x.min() <= moved.min()
        assert moved.max() <= x.max()


def test_constant_images_stay_constant() -> None:
    for value in (-1000, 7):
        x = np.full((1, 30, 30, 30), value, np.int16)
        w, _ = draw_warp(np.random.default_rng(1), whole((30, 30, 30)), (9, 9, 9), (1.0, 1.0, 1.0), ALL)
        for average in (False, True):
            np.testing.assert_array_equal(warp(x, w, average=average), value)


def test_averaging_takes_block_means_and_quiets_noise() -> None:
    x = np.arange(24, dtype=np.int16).reshape(1, 4, 6)
    w = compose(whole((4, 6)), (2, 3), (1.0, 1.0))
    np.testing.assert_allclose(warp(x, w, average=True)[0], x.reshape(2, 2, 3, 2).mean((1, 3)))
    noise = np.random.default_rng(0).normal(0, 100, (1, 64, 64, 64)).astype(np.float32)
    w = compose(whole((64, 64, 64)), (16, 16, 16), (1.0, 1.0, 1.0), angles=(10.0, 0.0, 0.0))
    assert warp(noise, w, average=True).std() < 100 / 4
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32), (1, 64, 64, 64))
    inner = (slice(None), slice(3, -3), slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(warp(ramp, w, average=True)[inner], warp(ramp, w)[inner], atol=1e-3)


@pytest.mark.parametrize("n", [2, 3])
def test_elastic_displacement_has_the_asked_mean_length_in_mm(n: int) -> None:
    spacing, shape = (5.0, 0.7, 0.9)[-n:], (30, 90, 80)[-n:]
    extent = np.array(shape) * spacing
    elastic, mm = draw_elastic(np.random.default_rng(0), extent, 1.5)
    assert mm == 1.5
    w = compose(whole(shape), shape, spacing, elastic=elastic, elastic_mm=mm)
    moved_mm = (positions(w) - np.indices(shape)) * np.array(spacing).reshape(-1, *[1] * n)
    assert np.sqrt((moved_mm**2).sum(0)).mean() == pytest.approx(1.5, rel=0.03)


def test_drawn_mean_displacement_is_uniform_up_to_the_setting() -> None:
    settings = WarpSettings((0.0,) * 3, elastic=2.0)
    lengths = []
    for seed in range(150):
        _, drawn = draw_warp(np.random.default_rng(seed), whole((96, 96, 96)), (96, 96, 96), (1.0, 1.0, 1.0), settings)
        lengths.append(np.sqrt((evaluate(drawn["elastic"]) ** 2).sum(0)).mean() * drawn["elastic_mm"])
        assert drawn["elastic_mm"] <= 2
        assert lengths[-1] == pytest.approx(drawn["elastic_mm"], rel=0.1)  # nodes on the border move a little more
    assert np.mean(lengths) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("n", [2, 3])
def test_elastic_never_folds(n: int) -> None:
    for seed in range(15):
        spacing, shape = (3.0, 1.0, 1.0)[-n:], (32, 48, 48)[-n:]
        elastic, mm = draw_elastic(np.random.default_rng(seed), np.array(shape) * spacing, 1e6)
        p = positions(compose(whole(shape), shape, spacing, elastic=elastic, elastic_mm=mm))
        jacobian = np.stack([np.gradient(p[i], axis=tuple(range(n))) for i in range(n)])
        assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0


def test_rotation_and_zoom_keep_angles_in_mm_whatever_the_spacing() -> None:
    spacing, window, size = np.array([4.0, 0.5, 0.8]), Window((2, 3, 4), (10, 60, 50)), (20, 30, 25)
    w = compose(window, size, tuple(spacing), angles=(20.0, -10.0, 35.0), zoom=1.25)
    to_mm = spacing[:, None] * w.matrix
    side = np.array(window.size) * spacing / np.array(size) / 1.25
    np.testing.assert_allclose(to_mm.T @ to_mm, np.diag(side**2), atol=1e-12)
    centre = w.matrix @ ((np.array(size) - 1) / 2) + w.offset
    np.testing.assert_allclose(centre, np.array(window.start) + np.array(window.size) / 2 - 0.5)


def test_what_was_drawn_replays() -> None:
    window, size, spacing = Window((1, 2, 3), (20, 30, 40)), (16, 16, 16), (2.0, 1.0, 1.0)
    w, drawn = draw_warp(np.random.default_rng(7), window, size, spacing, ALL)
    again = compose(window, size, spacing, **drawn)
    for a, b in zip(w[:3], again[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert drawn["turn"] in range(4)


def band_limited() -> np.ndarray:
    """Waves of 18 voxels and more in [0,1], (1,48,56,52)."""
    z, y, x = np.indices((48, 56, 52))
    return ((np.cos(z / 3) + np.cos(y / 3.5 + x / 6) + np.sin(x / 3) + 3) / 6).astype(np.float32)[None]


def hippocampus() -> np.ndarray:
    """A hippocampus MR, up-sampled three times and scaled to [0,1]."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "hippocampus"
    if not folder.is_dir():
        pytest.skip("the hippocampus MRs are not beside the project")
    file = min(folder.rglob("images/*.nii.gz"))
    image = zoom(np.asarray(nib.load(file).dataobj, np.float32), 3)
    return ((image - image.min()) / (image.max() - image.min()))[None]


@pytest.mark.parametrize(("make", "angles"), [(band_limited, (15.0, 3.0, 6.0)), (hippocampus, (6.0, 3.0, 0.0))])
def test_warping_forth_and_back_recovers_the_image(
    make: Callable[[], np.ndarray], angles: tuple[float, float, float]
) -> None:
    image = make()
    shape = image.shape[1:]
    inner = (slice(10, -10),) * 3
    elastic, mm = draw_elastic(np.random.default_rng(0), np.array(shape, float), 2.0)
    there = compose(whole(shape), shape, (1.0, 1.0, 1.0), angles=angles, elastic=elastic, elastic_mm=mm)
    field = positions(there) - np.indices(shape)
    assert np.sqrt((field**2).sum(0))[inner].max() > 5
    back = np.indices(shape).astype(float)
    for _ in range(30):  # fixed point of q = s - field(q)
        back = np.indices(shape) - np.stack([map_coordinates(f, back, order=1, mode="nearest") for f in field])
    home = Warp(np.eye(3), np.zeros(3), (back - np.indices(shape)).astype(np.float32), shape)
    error = (warp(warp(image, there), home) - image)[0][inner]
    assert -10 * np.log10((error**2).mean()) > 35


def test_a_map_of_other_dimension_is_refused() -> None:
    w = compose(whole((8, 8)), (8, 8), (1.0, 1.0))
    with pytest.raises(InputError, match="2 axes but the source has shape"):
        warp(np.zeros((1, 8, 8, 8), np.float32), w)


@pytest.mark.parametrize("shape", [(9, 12), (7, 9, 8)])
def test_reflect_shows_what_a_mirror_at_the_faces_shows(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    pad, n = 5, len(shape)
    wide = Warp(np.eye(n), np.full(n, -float(pad)), None, tuple(s + 2 * pad for s in shape))
    mirrored = np.pad(x, [(0, 0), *[(pad, pad)] * n], mode="symmetric")
    np.testing.assert_allclose(warp(x, wide, fill="reflect"), mirrored, atol=1e-5)
    np.testing.assert_array_equal(warp(x, wide, order=0, fill="reflect"), mirrored)
    settings = ALL_2D if n == 2 else ALL
    for seed in range(4):
        rng = np.random.default_rng(seed)
        start = Window((0,) * n, tuple(s // 2 for s in shape))
        w, _ = draw_warp(rng, start, (20,) * n, (1.0,) * n, settings)
        expected = warp_torch(torch.from_numpy(x), w, fill="reflect").numpy()
        np.testing.assert_allclose(warp(x, w, fill="reflect"), expected, atol=1e-4)


def test_averaged_reflection_of_a_constant_and_of_a_symmetric_ramp() -> None:
    ramp = np.broadcast_to(np.minimum(np.arange(64), 63 - np.arange(64)).astype(np.float32), (1, 64, 64))
    w = Warp(4 * np.eye(2), np.array([1.5, 1.5 - 64]), None, (16, 48))
    seen = warp(ramp, w, fill="reflect", average=True)
    inner = warp(ramp, compose(whole((64, 64)), (16, 16), (1.0, 1.0)), average=True)
    np.testing.assert_allclose(seen, np.tile(inner, (1, 1, 3)), atol=1e-4)


def test_averaging_covers_whole_blocks_up_to_the_border() -> None:
    board = (np.indices((64, 64)).sum(0) % 2)[None].astype(np.uint8)
    for size in ((16, 16), (32, 16), (32, 32)):
        np.testing.assert_array_equal(warp(board, compose(whole((64, 64)), size, (1.0, 1.0)), average=True), 0.5)
    inner = compose(Window((8, 12), (32, 32)), (8, 8), (1.0, 1.0))
    np.testing.assert_array_equal(warp(board, inner, average=True), 0.5)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, np.float16, np.float64, np.bool_])
def test_every_type_gives_what_its_numbers_give(dtype: type) -> None:
    x = np.random.default_rng(1).integers(0, 2 if dtype is np.bool_ else 100, (1, 9, 10, 11)).astype(dtype)
    w, _ = draw_warp(np.random.default_rng(0), whole((9, 10, 11)), (8, 8, 8), (1.0, 1.0, 1.0), ALL)
    coarse = compose(whole((9, 10, 11)), (3, 4, 5), (1.0, 1.0, 1.0), angles=(5.0, 0.0, 0.0))
    for swapped in (x, x.astype(x.dtype.newbyteorder())):  # as big-endian files give them
        np.testing.assert_array_equal(warp(swapped, w), warp(x.astype(np.float32), w))
        averaged = warp(swapped, coarse, average=True)
        np.testing.assert_allclose(averaged, warp(x.astype(np.float32), coarse, average=True), rtol=1e-5)
        assert not np.allclose(averaged, warp(swapped, coarse))
        label = warp(swapped, w, order=0)
        assert label.dtype == dtype
        np.testing.assert_array_equal(label, warp(x, w, order=0))
        assert set(np.unique(label)) <= set(np.unique(x))


@pytest.mark.parametrize("shape", [(1, 20), (20, 1), (1, 1), (2, 3)])
@pytest.mark.parametrize("fill", ["edge", "reflect"])
def test_thin_images_give_what_they_hold(shape: tuple[int, ...], fill: str) -> None:
    x = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    for seed in range(3):
        w, _ = draw_warp(np.random.default_rng(seed), whole(shape), (9, 7), (1.0, 1.0), ALL_2D)
        expected = warp_torch(torch.from_numpy(x), w, fill=fill).numpy()
        np.testing.assert_allclose(warp(x, w, fill=fill), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(30, 34), (16, 20, 22)])
def test_both_backends_take_the_same_nearest_labels(shape: tuple[int, ...]) -> None:
    label = np.random.default_rng(0).integers(0, 9, (1, *shape)).astype(np.int16)
    for seed in range(4):
        settings = ALL_2D if len(shape) == 2 else ALL
        w, _ = draw_warp(np.random.default_rng(seed), whole(shape), (24,) * len(shape), (1.0,) * len(shape), settings)
        there = warp_torch(torch.from_numpy(label).float(), w, order=0).numpy()
        assert (there == warp(label, w, order=0)).mean() > 0.999  # float32 positions may fall on either side of a half
