from __future__ import annotations

import itertools
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medssl import views
from medssl.crop import random as crop
from medssl.data import foreground, presets, stack
from medssl.data.cache import Cache
from medssl.data.grid import box_to_array, to_array, to_source
from medssl.data.manifest import PATIENT_GUESSED, Manifest, Row
from medssl.data.phantom.cases import ct_case, histology
from medssl.data.phantom.files import affine, write_ct_dataset
from medssl.data.prepare import prepare
from medssl.data.preparing.fill import claim
from medssl.data.preparing.label import label_to_array
from medssl.data.preparing.settings import settings
from medssl.data.read.volume import Volume, make, plane
from medssl.data.reject import Rejected
from medssl.data.scan.scan import scan
from medssl.types import Box, InputError, Window

TURNS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
CANONICAL = np.array([[0, 0, 1.2, -20], [0, 1.5, 0, -30], [2.0, 0, 0, -40], [0, 0, 0, 1]])


def turned(volume: Volume, order: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same volume stored with other axis order and directions, by the definition of the affine."""
    array = volume.array.transpose(0, *(i + 1 for i in order))[(slice(None), *(slice(None, None, s) for s in signs))]
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[old, new] = sign
        matrix[old, 3] = 0 if sign == 1 else volume.array.shape[old + 1] - 1
    return make(array, volume.affine @ matrix, volume.modality)


def blob(shape: tuple[int, ...] = (24, 36, 25)) -> tuple[Volume, Volume]:
    """A body in air with a lopsided label of three classes inside it."""
    image = np.full(shape, -1000, np.int16)
    image[3:17, 7:29, 3:18] = 40
    label = np.zeros(shape, np.uint8)
    label[4:9, 8:12, 7:11], label[9:16, 8:11, 7:17] = 1, 2
    label[4, 8, 7] = 3
    return make(image[None], CANONICAL, "CT"), make(label[None], CANONICAL, "CT")


@pytest.mark.parametrize(("order", "signs"), TURNS)
def test_label_comes_back_identical_from_each_of_48_orientations(order, signs):
    image, label = (turned(volume, order, signs) for volume in blob())
    array, geometry = to_array(image, settings("ct", [(1, 1, 1)]))
    mask = label_to_array(label, json.loads(json.dumps(geometry)))
    assert mask.shape[1:] == array.shape[1:] == tuple(geometry["array"]["shape"])
    assert array.shape == (1, 20, 30, 23)  # margins of 5 mm are 3, 4 and 5 voxels, one cut at the edge
    back = to_source(mask[0], json.loads(json.dumps(geometry)))
    np.testing.assert_array_equal(back.array, label.array)
    np.testing.assert_array_equal(back.affine, image.affine)
    assert back.array.dtype == label.array.dtype
    canonical, _ = to_array(blob()[0], settings("ct", [(1, 1, 1)]))
    np.testing.assert_array_equal(array, canonical)  # however it is stored, the cache holds the same


def test_label_comes_back_identical_in_2d_and_oblique():
    image, label = (make(v.array[:, 8], np.diag([2.0, 1.0, 1.0]), "CR") for v in blob())
    array, geometry = to_array(image, settings("xray", [(1, 1)]))
    assert array.shape == (1, 28, 23)  # rows 7 to 29 and 3 more on each side, columns 3 to 18 and 5 more
    np.testing.assert_array_equal(to_source(label_to_array(label, geometry)[0], geometry).array, label.array)
    tilt = affine((20, 30, 25), 10.0)
    image, label = (make(v.array, tilt, "CT") for v in blob())
    geometry = to_array(image, settings("ct", [(1, 1, 1)]))[1]
    np.testing.assert_array_equal(to_source(label_to_array(label, geometry)[0], geometry).array, label.array)


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (1.0, 1.0, 1.0), (2.7, 1.1, 1.6), "isotropic"])
def test_resampled_label_comes_back_over_iou_095(spacing):
    at = np.mgrid[:60, :64, :56].astype(float)
    ball = (((at - np.reshape([30, 31, 27], (3, 1, 1, 1))) / np.reshape([16, 18, 15], (3, 1, 1, 1))) ** 2).sum(0)
    label = (ball < 1).astype(np.uint8)
    image = np.where(ball < 2, 50, -1000).astype(np.int16)
    image, label = (turned(make(part[None], CANONICAL, "CT"), (2, 0, 1), (-1, 1, -1)) for part in (image, label))
    array, geometry = to_array(image, settings("ct", [(1, 1, 1)], spacing))
    wanted = (2.0 * 1.5 * 1.2) ** (1 / 3) if spacing == "isotropic" else spacing
    np.testing.assert_allclose(geometry["array"]["spacing"], np.broadcast_to(wanted, 3))
    back = to_source(label_to_array(label, geometry)[0], geometry).array
    assert (back & label.array).sum() / (back | label.array).sum() > 0.95
    assert array.shape[1:] != image.array.shape[1:]


def test_outside_the_crop_comes_back_as_background():
    image, _ = blob()
    array, geometry = to_array(image, settings("ct", [(1, 1, 1)], (1.0, 1.0, 1.0)))
    back = to_source(np.ones(array.shape[1:], np.int32), geometry).array[0]
    window = geometry["crop"]
    inside = tuple(slice(a, a + n) for a, n in zip(window["start"], window["size"], strict=True))
    assert back[inside].all()
    assert back.sum() == back[inside].size


def test_a_mask_of_another_shape_is_refused():
    geometry = to_array(blob()[0], settings("ct", [(1, 1, 1)]))[1]
    with pytest.raises(InputError, match=r"has shape \(3, 3, 3\), but needs that of the prepared image, \("):
        to_source(np.zeros((3, 3, 3), int), geometry)


def test_crop_margin_and_foreground_by_hand():
    _, geometry = to_array(blob()[0], settings("ct", [(1, 1, 1)]))  # 5 mm: 3, 4, 5 voxels of 2, 1.5, 1.2 mm
    assert geometry["crop"] == {"start": (0, 3, 0), "size": (20, 30, 23)}
    image = np.full((40, 40, 40), -1000, np.int16)
    image[10:20, 12:30, 15:25] = 0
    array, geometry = to_array(make(image[None], CANONICAL, "CT"), settings("ct", [(1, 1, 1)]))
    assert geometry["crop"] == {"start": (7, 8, 10), "size": (16, 26, 20)}
    assert geometry["foreground"] == {"start": (3, 4, 5), "size": (10, 18, 10)}
    assert array.shape == (1, 16, 26, 20)


def test_box_follows_its_voxels_through_turn_crop_and_resampling():
    image = np.full((40, 40, 40), -1000, np.int16)
    image[10:20, 12:30, 15:25] = 0
    volume = make(image[None], CANONICAL, "CT")
    box = Box("a", (12.0, 14.0, 16.0), (15.0, 20.0, 18.0))
    geometry = to_array(volume, settings("ct", [(1, 1, 1)]))[1]
    assert box_to_array(box, geometry) == Box("a", (5.0, 6.0, 6.0), (8.0, 12.0, 8.0))
    geometry = to_array(turned(volume, (0, 1, 2), (1, -1, 1)), settings("ct", [(1, 1, 1)]))[1]
    mirrored = Box("a", (12.0, 40 - 20.0, 16.0), (15.0, 40 - 14.0, 18.0))
    assert box_to_array(mirrored, geometry) == Box("a", (5.0, 6.0, 6.0), (8.0, 12.0, 8.0))
    geometry = to_array(volume, settings("ct", [(1, 1, 1)], (1.0, 1.5, 1.2)))[1]  # twice as many voxels along z
    assert box_to_array(box, geometry) == Box("a", (10.0, 6.0, 6.0), (16.0, 12.0, 8.0))


def test_body_is_the_large_parts_over_air():
    image = np.full((1, 30, 60, 60), -1000)
    image[:, :, 10:25, 10:25] = image[:, :, 10:25, 35:50] = 0  # two legs
    image[:, :, 50:52, :20] = 0  # a table
    assert foreground.box(foreground.mask(image, "body")) == Window((0, 10, 10), (30, 15, 40))
    assert foreground.box(np.zeros((4, 5, 6), bool)) == Window((0, 0, 0), (4, 5, 6))


@pytest.mark.parametrize("low", [-1000.0, -160.0])
def test_cells_with_patient_hold_lungs_but_neither_air_nor_a_table(low):
    hu = np.full((1, 8, 40, 40), -1000.0)
    hu[:, :, 8:32, 8:32] = 40
    hu[:, :, 13:27, 13:27] = -900  # lungs, open at the first and last slice
    hu[:, :, 36:38, 4:36] = 200  # a table
    x = np.clip((hu - low) / (240 - low), 0, 1)
    found = foreground.cells(foreground.seen(x, "body", [(low, 240.0)]), (4, 10, 10))
    expected = np.zeros((4, 10, 10), bool)
    expected[:, 2:8, 2:8] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("shape", "grid"), [((12, 20), (6, 5)), ((7, 11), (3, 4)), ((5, 9, 8), (2, 3, 8))])
def test_every_voxel_of_the_patient_is_in_a_cell_that_counts(shape, grid):
    for spot in itertools.product(*map(range, shape)):
        found = np.zeros(shape, bool)
        found[spot] = True
        (cell,) = np.argwhere(foreground.cells(found, grid))
        low, high = cell * np.array(shape) / grid, (cell + 1) * np.array(shape) / grid
        assert (low - 1 < spot).all()
        assert (spot < high).all()


def test_uptake_keeps_the_body_around_a_hot_tumour():
    suv = np.full((1, 40, 40, 40), 0.02, np.float32)
    suv[:, 5:35, 5:35, 5:35] = 0.6
    suv[:, 10:22, 10:22, 10:22] = 15.0
    assert foreground.box(foreground.mask(suv, "uptake")) == Window((5, 5, 5), (30, 30, 30))


def test_frame_of_a_film_is_cut():
    image = np.zeros((1, 50, 60), np.uint8)
    image[0, 5:45, 8:58] = np.random.default_rng(0).integers(60, 250, (40, 50))
    assert foreground.box(foreground.mask(image, "frame")) == Window((5, 8), (40, 50))
    ramp = np.arange(50.0)[None, :, None] * np.ones((1, 50, 60))  # rows without contrast: there is no frame to find
    assert foreground.mask(ramp, "frame").all()


def thigh(noise):
    """A leg in T1: bright fat around muscle and a tumour that are nearer to air than to fat; and the body's mask."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:20, -30:30, -40:40]
    radius = np.hypot(y, x)
    image = np.where(radius < 26, 900.0, 0.0)
    image[radius < 20] = 260
    image[np.hypot(y - 5, x + 4) + 0 * z < 9] = 190
    image = np.hypot(image + rng.normal(0, 25, image.shape), rng.normal(0, 25, image.shape))
    body = radius < 26
    return np.where(body | noise, np.rint(image), 0).astype(np.int16), body


@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("preset", ["mr", "pet"])
def test_tissue_is_not_clipped_however_dark_it_is_beside_fat(noise, preset):
    image, body = thigh(noise)
    ((low, high),) = to_array(make(image[None], np.eye(4), "MR"), settings(preset, [(1, 1, 1)]))[1]["intensity"]
    assert ((image[body] < low) | (image[body] > high)).mean() < 0.01
    assert high < 1.15 * np.percentile(image[body], 99)  # and the range is not wider than it must be
    assert (image[body] < low).mean() < 0.006


def test_an_older_rule_for_0_and_1_is_never_mixed_with_this_one(tmp_path):
    before = {**settings("mr", [(1, 1, 1)]), "range": "other"}
    with pytest.raises(InputError, match=r"scaled to \[other\], but this version of medssl scales to \[0.5%"):
        to_array(make(thigh(True)[0][None], np.eye(4), "MR"), before)
    claim(tmp_path, before, "m")
    with pytest.raises(InputError, match=r"was prepared with range other, not 0.5% of all but"):
        claim(tmp_path, settings("mr", [(1, 1, 1)]), "m")


def test_intensity_is_window_for_ct_and_percentiles_for_mr():
    array = np.zeros((1, 40, 40, 40), np.float32)
    array[0, 10:30, 10:30, 10:30] = np.random.default_rng(0).permutation(8000).reshape(20, 20, 20) / 80 + 100
    volume = make(array, np.eye(4), "MR")
    ((low, high),) = to_array(volume, settings("mr", [(1, 1, 1)]))[1]["intensity"]
    assert low == pytest.approx(100.5, abs=0.1)
    assert high == pytest.approx(199.5, abs=0.1)
    assert to_array(blob()[0], settings("ct", [(1, 1, 1)]))[1]["intensity"] == [(-1000.0, 1000.0)]
    abdomen = settings("ct", [(1, 1, 1)], window=(-160, 240))
    assert to_array(blob()[0], abdomen)[1]["intensity"] == [(-160.0, 240.0)]


@pytest.mark.parametrize(
    ("values", "preset", "dtype"),
    [
        (np.array([-1000, 3000], np.float32), "ct", np.int16),
        (np.array([0, 200], np.uint8), "mr", np.uint8),
        (np.array([0, 4000], np.uint16), "mr", np.int16),
        (np.array([0, 60000], np.uint16), "mr", np.float16),
        (np.array([0, 1.5], np.float32), "mr", np.float16),
        (np.array([0, 1e6], np.float32), "mr", np.float32),
        (np.array([30000, 30010], np.float32), "mr", np.float32),
        (np.array([0, 1e-6], np.float32), "mr", np.float32),
    ],
)
def test_stored_in_the_smallest_type_that_keeps_the_values(values, preset, dtype):
    array = np.random.default_rng(0).choice(values, (1, 12, 12, 12))
    stored, geometry = to_array(make(array, CANONICAL, "OT"), settings(preset, [(1, 1, 1)]))
    assert stored.dtype == dtype
    ((low, high),) = geometry["intensity"]
    crop = geometry["crop"]
    part = array[(slice(None), *(slice(a, a + n) for a, n in zip(crop["start"], crop["size"], strict=True)))]
    assert np.abs(stored.astype(float) - part).max() <= (high - low) / 500 / 2


def test_gray_saved_as_rgb_becomes_luminance_and_stains_keep_their_colour():
    rgb = np.ascontiguousarray(histology(np.random.default_rng(0), (40, 44))[0].transpose(2, 0, 1))
    gray = np.repeat(rgb[:1], 3, 0)
    np.testing.assert_array_equal(to_array(plane(gray, (1, 1), "US"), settings("ultrasound", [(1, 1)]))[0], rgb[:1])
    array, geometry = to_array(plane(rgb, (1, 1), "SM"), settings("pathology", [(1, 1)]))
    np.testing.assert_array_equal(array, rgb)
    assert geometry["intensity"] == [(0.0, 255.0)] * 3
    with pytest.raises(Rejected, match="the image has 1, preset pathology takes 3"):
        to_array(plane(rgb[:1], (1, 1), "SM"), settings("pathology", [(1, 1)]))


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "not finite"), (np.inf, "not finite"), (None, "constant")])
def test_unusable_values_are_rejected(value, reason):
    array = np.full((1, 9, 9, 9), 3.0, np.float32)
    if value is not None:
        array[0, 1, 1, 1] = value
    with pytest.raises(Rejected, match=reason):
        to_array(make(array, np.eye(4), "MR"), settings("mr", [(1, 1, 1)]))


def test_a_label_elsewhere_is_rejected():
    image, label = blob()
    geometry = to_array(image, settings("ct", [(1, 1, 1)]))[1]
    with pytest.raises(Rejected, match=r"image \(24, 36, 25\), label \(24, 36, 24\)"):
        label_to_array(make(label.array[..., 1:], label.affine, "CT"), geometry)
    moved = label.affine.copy()
    moved[2, 3] += 7
    with pytest.raises(Rejected, match=r"corners are 7.0 mm apart"):
        label_to_array(make(label.array, moved, "CT"), geometry)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "cat"}, "no preset 'cat'"),
        ({"preset": "ct", "spacing": (1.0, 1.0)}, "need 3 positive"),
        ({"preset": "xray", "spacing": (1.0, 1.0, 0.0)}, "need 3 positive"),
        ({"preset": "ct", "spacing": "cubic"}, "'cubic'"),
        ({"preset": "ct", "window": (5, 5)}, "must be below"),
    ],
)
def test_bad_settings_are_one_sentence(given, message):
    with pytest.raises(InputError, match=message):
        settings(shapes=[(1, 1, 1)], **given)


@pytest.mark.parametrize("preset", sorted(presets.PRESETS))
def test_every_preset_is_2d_or_3d_as_most_images_are(preset):
    assert settings(preset, [(9, 9), (9, 9), (9, 9, 9)])["spatial_dims"] == 2
    assert settings(preset, [(9, 9, 9)])["spatial_dims"] == 3
    assert presets.find("pet").modalities == ("PT",)


@pytest.mark.parametrize("preset", ["ct", "mr", "pet", "xray", "ultrasound"])
@pytest.mark.parametrize("name", ["slice.nii.gz", "slice.png"])
def test_a_slice_goes_through_scan_prepare_and_views(tmp_path, preset, name):
    image = thigh(True)[0][0]
    array = image if name.endswith("gz") else np.clip(image // 5, 0, 255).astype(np.uint8)
    if name.endswith("gz"):
        nib.save(nib.Nifti1Image(array.T[..., None], np.diag([2.0, 1.5, 5.0, 1.0])), tmp_path / name)
    else:
        Image.fromarray(array).save(tmp_path / name)
    scan([tmp_path], tmp_path / "m.csv")
    rescale = (1, -1024) if preset == "ct" else None  # Hounsfield units are not what these values are
    cache = prepare(tmp_path / "m.csv", tmp_path / "c", preset=preset, spacing="isotropic", rescale=rescale)
    (case,) = cache.cases.values()
    assert (len(case.shape), cache.preprocessing["spatial_dims"]) == (2, 2)
    assert case.spacing == pytest.approx([3**0.5] * 2 if name.endswith("gz") else [1, 1])
    maker = views.build(spatial_dims=2, size=[24, 24], preset=preset)
    made = maker(cache.image(case.id), case, 0, crop.build(), np.random.default_rng(0))
    assert all(view.x.shape == (1, 24, 24) and 0 <= view.x.min() < view.x.max() <= 1 for view in made)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Four cases, two of them DICOM, with labels; one label of another shape; a constant volume."""
    folder = tmp_path_factory.mktemp("data")
    write_ct_dataset(folder, 4, (20, 24, 24), 0)
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), 7, np.int16), np.eye(4)), folder / "images" / "flat.nii.gz")
    small = nib.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.eye(4))
    shutil.copy(folder / "images" / "case_000.nii.gz", folder / "images" / "odd.nii.gz")
    nib.save(small, folder / "odd_label.nii.gz")
    scan([folder / "images"], folder / "m.csv", labels=folder / "labels", split=(0.5, 0.25, 0.25))
    lines = (folder / "m.csv").read_text().splitlines()
    lines = [x.replace("images/odd.nii.gz,,", "images/odd.nii.gz,odd_label.nii.gz,") for x in lines]
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return folder / "m.csv"


def test_dicom_and_nifti_cases_end_up_as_the_phantoms_they_were(scanned, tmp_path):
    seen = []
    cache = prepare(scanned, tmp_path / "c", preset="ct", progress=lambda *step: seen.append(step))
    labelled = [case for case in cache.cases.values() if case.has_label]
    assert len(labelled) == 4
    assert seen[-1] == ("prepare", seen[-1][2], seen[-1][2])
    found = {(int(cache.image(c.id)[...].astype(int).sum()), int(cache.label(c.id)[...].sum())) for c in labelled}
    wanted = set()
    for index in range(4):
        image, label = ct_case(np.random.default_rng([0, index]), (20, 24, 24), ("dark", "bright")[index % 2])
        array, geometry = to_array(make(image[None], affine(image.shape, 0.0), "CT"), cache.preprocessing)
        mask = label_to_array(make(label[None], affine(image.shape, 0.0), "CT"), geometry)
        wanted.add((int(array.astype(int).sum()), int(mask.sum())))
    assert found == wanted
    assert {case.split for case in labelled} <= {"train", "val", "test"}


def test_a_bad_image_costs_itself_and_is_named(scanned, tmp_path):
    cache = prepare(scanned, tmp_path / "c", preset="ct")
    assert any("label" in reason for reason in cache.rejected.values())
    assert not set(cache.rejected) & set(cache.cases)
    assert any("were skipped" in notice for notice in cache.notices)


def test_a_stopped_run_goes_on_and_ends_like_a_straight_one(scanned, tmp_path):
    straight = prepare(scanned, tmp_path / "straight", preset="ct")

    class Stop(Exception):  # noqa: N818
        pass

    def stop(_: str, done: int, total: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        prepare(scanned, tmp_path / "stopped", preset="ct", progress=stop)
    with pytest.raises(InputError, match="was interrupted"):
        Cache(tmp_path / "stopped")
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "stopped" / "cases").iterdir()}
    assert 1 <= len(times) <= 2
    again = prepare(scanned, tmp_path / "stopped", preset="ct")
    assert again.hash == straight.hash
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())


@pytest.mark.parametrize("harm", ["flip", "missing", "label", "record"])
def test_a_damaged_array_is_noticed_and_made_anew(scanned, tmp_path, harm):
    straight = prepare(scanned, tmp_path / "c", preset="ct")
    name = next(case.id for case in straight.cases.values() if case.has_label)
    file = tmp_path / "c" / "arrays" / f"{name}{'.label' if harm == 'label' else ''}.b2nd"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    if harm == "missing":
        file.unlink()
    elif harm == "record":
        (tmp_path / "c/cases" / f"{name}.json").write_text("{")
    else:
        file.write_bytes(content)
        read = Cache(tmp_path / "c").label if harm == "label" else Cache(tmp_path / "c").image
        with pytest.raises(InputError, match="is damaged"):
            read(name)
    again = prepare(scanned, tmp_path / "c", preset="ct")
    assert again.hash == straight.hash
    np.testing.assert_array_equal(again.image(name)[...], straight.image(name)[...])
    assert again.label(name)[...].any()


def test_two_preparations_of_one_cache_do_no_harm(scanned, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(prepare, scanned, tmp_path / "c", preset="ct", workers=2)
        second = pool.submit(prepare, scanned, tmp_path / "c", preset="ct", workers=2)
        made = [first.result(), second.result()]
    assert made[0].hash == made[1].hash == prepare(scanned, tmp_path / "alone", preset="ct").hash


def test_a_full_disk_is_one_sentence_and_nothing_is_claimed_to_be_done(scanned, tmp_path, monkeypatch):
    def full(*given, **more):
        raise RuntimeError("cannot write")

    monkeypatch.setattr("medssl.data.arrays.blosc2.asarray", full)
    monkeypatch.setattr("medssl.data.arrays.shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OSError, match="No space left"):
        prepare(scanned, tmp_path / "c", preset="ct")
    with pytest.raises(InputError, match="interrupted"):
        Cache(tmp_path / "c")


def test_workers_make_the_same_cache(scanned, tmp_path):
    one = prepare(scanned, tmp_path / "one", preset="ct", spacing="isotropic")
    two = prepare(scanned, tmp_path / "two", preset="ct", spacing="isotropic", workers=2)
    assert one.hash == two.hash
    assert one.rejected == two.rejected


def test_labels_outside_the_crop_are_told(tmp_path):
    image = np.full((40, 40, 40), -1000, np.int16)
    image[10:20, 10:20, 10:20] = 40
    label = np.zeros((40, 40, 40), np.uint8)
    label[12:14, 12, 12] = label[38, 38, 37:39] = 1
    for folder, array in (("images", image), ("labels", label)):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / folder / "a.nii.gz")
    scan([tmp_path / "images"], tmp_path / "m.csv", labels=tmp_path / "labels")
    cache = prepare(tmp_path / "m.csv", tmp_path / "c", preset="ct")
    assert cache.notices == ["the crop to the patient cuts off up to 50.0% of the label in 1 cases"]


def test_other_settings_or_another_folder_are_refused(scanned, tmp_path):
    prepare(scanned, tmp_path / "c", preset="ct")
    with pytest.raises(InputError, match=r"prepared with spacing None, not \[2.0, 2.0, 2.0\]"):
        prepare(scanned, tmp_path / "c", preset="ct", spacing=(2, 2, 2))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        prepare(scanned, tmp_path / "file" / "c", preset="ct")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(InputError, match="is not empty and not a cache"):
        prepare(scanned, tmp_path / "full", preset="ct")


def test_nothing_left_is_an_error_and_a_wrong_preset_is_said(scanned, tmp_path):
    with pytest.raises(InputError, match=r"none of \d+ images could be prepared \(\d x other channels"):
        prepare(scanned, tmp_path / "mr", preset="pathology", modality="CT")
    assert not (tmp_path / "mr").exists(), "a refused preparation does not keep its output"
    with pytest.raises(InputError, match=r"m.csv holds .*2 CT, but preset mr is for MR.*--preset ct --modality CT"):
        prepare(scanned, tmp_path / "mr", preset="mr")
    assert prepare(scanned, tmp_path / "mr", preset="mr", modality="ct").preprocessing["preset"] == "mr"


def rows(*sources: str, patients: str = "") -> Manifest:
    """One row a source; the patients are guessed, a different one each, unless `patients` has a letter for each."""
    qc = () if patients else (PATIENT_GUESSED,)
    whose = patients or "0123456789"
    made = [Row(str(i), s, source=s, patient=f"p{whose[i]}", qc=qc) for i, s in enumerate(sources)]
    return Manifest(made, None, None, {row.id: {"files": [row.image]} for row in made})


def test_the_cache_knows_whose_spacing_is_unknown(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)).save(tmp_path / "a.png")
    scan([tmp_path], tmp_path / "m.csv")
    (case,) = prepare(tmp_path / "m.csv", tmp_path / "cache", preset="xray").cases.values()
    assert not case.spacing_known
    assert case.spacing == (1.0, 1.0)


def test_channels_are_words_and_need_each_other():
    found = rows("a/p1_FLAIR.nii", "a/p1_T1.nii", "a/p1_t1c.nii", "a/p2_flair.nii", "b/p2_T1.nii", "T1/x", "FLAIR/x")
    jobs, rejected = stack.groups(found, ["FLAIR", "T1"])
    assert [[row.id for row in job.rows] for job in jobs] == [["0", "1"], ["6", "5"]]
    assert set(rejected) == {"2", "3", "4"}
    assert "contains 0 of the words" in rejected["2"]


def test_channels_never_join_different_patients():
    found = rows("x_FLAIR.nii", "x_T1.nii", "y_FLAIR.nii", "y_T1.nii", "ab/FLAIR", "cd/T1", patients="aabcdd")
    found.rows[4:] = [replace(row, study="s") for row in found.rows[4:]]
    jobs, rejected = stack.groups(found, ["FLAIR", "T1"])
    assert [[row.id for row in job.rows] for job in jobs] == [["0", "1"], ["4", "5"]]
    assert set(rejected) == {"2", "3"}


def test_channels_of_one_grid_are_stacked_and_others_refused(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name, shape in {
        "p1_FLAIR": (9, 10, 11),
        "p1_T1": (9, 10, 11),
        "p2_FLAIR": (9, 10, 11),
        "p2_T1": (9, 10, 8),
    }.items():
        nib.save(
            nib.Nifti1Image(rng.integers(0, 99, shape).astype(np.int16), np.eye(4)), tmp_path / "in" / f"{name}.nii"
        )
    scan([tmp_path / "in"], tmp_path / "m.csv")
    cache = prepare(tmp_path / "m.csv", tmp_path / "c", preset="mr", channels=["T1", "FLAIR"])
    (name,) = cache.ids
    t1 = nib.load(tmp_path / "in" / "p1_T1.nii").get_fdata().transpose(2, 1, 0)
    assert cache.cases[name].channels == 2
    np.testing.assert_array_equal(cache.image(name)[0], t1)
    assert list(cache.rejected.values()) == ["channels on different grids"]
