from __future__ import annotations

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medssl.data.phantom.cases import ct_case, histology, mr_case, phantom_cache, write_ct_dataset, xray
from medssl.data.phantom.files import affine
from medssl.data.scan.scan import scan
from medssl.types import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / max(1, one.sum() + other.sum())


@pytest.mark.parametrize("make", [ct_case, mr_case, xray, histology])
def test_a_seed_fixes_a_phantom_and_another_changes_it(make):
    size = (40, 40) if make in (xray, histology) else (24, 28, 32)
    first, again, other = (make(rng(seed), size)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape[: len(size)] == size


def test_ct_is_in_hounsfield_units():
    image, label = ct_case(rng(), (48, 64, 64))
    assert image.dtype == np.int16
    assert label.dtype == np.uint8
    assert np.median(image[:, :4, :4]) == pytest.approx(-1000, abs=5)  # air
    assert np.median(image[40, 31, 44:50]) == pytest.approx(-830, abs=60)  # right lung: x grows to the Right
    assert 0 < label.mean() < 0.1
    bright, where = ct_case(rng(3), (48, 64, 64), "bright")
    dark, there = ct_case(rng(3), (48, 64, 64), "dark")
    assert np.median(bright[where > 0]) == pytest.approx(420, abs=40)  # small ones are blurred
    assert np.median(dark[there > 0]) == pytest.approx(-90, abs=25)


@pytest.mark.parametrize(("make", "kind"), [(ct_case, "dark"), (ct_case, "bright"), (mr_case, "")])
def test_no_threshold_finds_the_lesions(make, kind):
    image, label = zip(*[make(rng(seed), (32, 40, 40), kind) for seed in range(4)], strict=True)
    values, mask = np.stack(image), np.stack(label) > 0
    levels = np.percentile(values, np.linspace(1, 99.5, 25))
    best = max(dice((values >= low) & (values <= high), mask) for low in levels for high in levels if low < high)
    assert best < 0.5


def test_liver_lies_on_the_patients_right_and_lungs_above():
    for seed in range(3):
        _, label = ct_case(rng(seed), (48, 64, 64))
        z, _, x = np.argwhere(label).mean(0)
        assert x > 31.5  # lesions are in the liver, right of the midline
        assert z < 30
        image, _ = ct_case(rng(seed), (48, 64, 64))
        lung = (image > -900) & (image < -700)
        assert lung[30:].mean() > 5 * lung[:15].mean()


def test_xray_boxes_hold_the_opacities():
    normal, name, boxes = xray(rng(), (96, 96), "normal")
    assert (name, boxes) == ("normal", [])
    assert normal.dtype == np.uint8
    image, name, boxes = xray(rng(), (96, 96), "opacity")
    assert name == "opacity"
    assert 1 <= len(boxes) <= 2
    for start, stop in boxes:
        assert all(0 <= low < high <= 96 for low, high in zip(start, stop, strict=True))
    assert image.max() == 255


def test_nuclei_are_bluer_and_darker_than_their_surroundings():
    image, nuclei = histology(rng(), (128, 128))
    assert image.shape == (128, 128, 3)
    red = image[..., 0].astype(int)
    assert red[nuclei > 0].mean() < red[nuclei == 0].mean() - 50  # haematoxylin takes red light
    assert (image[..., 2] > image[..., 1]).mean() > 0.8  # purple and pink
    assert 0.05 < nuclei.mean() < 0.3


@pytest.mark.parametrize(
    ("preset", "size", "channels", "labels", "classes"),
    [
        ("ct", (32, 32, 32), 1, {0, 1}, {"dark", "bright"}),
        ("mr", (32, 32, 32), 1, {0, 1}, {"periventricular", "subcortical"}),
        ("ct", (48, 48), 1, {0, 1}, {"dark", "bright"}),
        ("xray", (48, 48), 1, None, {"normal", "opacity"}),
        ("pathology", (48, 48), 3, {0, 1}, set()),
    ],
)
def test_cache_of_phantoms(tmp_path, preset, size, channels, labels, classes):
    cache = phantom_cache(tmp_path / "c", 10, size, 0, preset)
    cases = list(cache.cases.values())
    assert len(cases) == len(cache.patients) == 10
    assert sorted(case.split for case in cases) == ["test"] * 2 + ["train"] * 7 + ["val"]
    assert {name for case in cases for name in case.classes} == classes
    assert {case.channels for case in cases} == {channels}
    if labels:
        assert set(np.unique(np.concatenate([cache.label(case.id)[...].ravel() for case in cases]))) == labels
    for case in cases:
        image = cache.image(case.id)[...]
        assert image.shape == (channels, *case.shape)
        assert all(low < high for low, high in case.intensity)
        assert all(low + n <= side for low, n, side in zip(*case.foreground, case.shape, strict=True))
    if preset == "xray":
        assert all(bool(case.boxes) == (case.classes == ("opacity",)) for case in cases)


def test_cache_is_fixed_by_its_seed_and_opened_again(tmp_path):
    one, two, other = (
        phantom_cache(tmp_path / name, 3, (24, 24, 24), seed) for name, seed in [("a", 0), ("b", 0), ("c", 1)]
    )
    assert one.hash == two.hash != other.hash
    assert not one.patients & other.patients
    assert phantom_cache(tmp_path / "a", 3, (24, 24, 24), 0).hash == one.hash
    with pytest.raises(InputError, match="was prepared with manifest phantom 3"):
        phantom_cache(tmp_path / "a", 4, (24, 24, 24), 0)


@pytest.mark.parametrize(
    "given", [(2, (9, 9, 9), "ct"), (3, (9, 9, 9), "xray"), (3, (9, 9, 9), "pet"), (3, (9,), "ct")]
)
def test_a_phantom_that_does_not_exist_is_refused(tmp_path, given):
    cases, size, preset = given
    with pytest.raises(InputError, match="no phantom of preset"):
        phantom_cache(tmp_path / "c", cases, size, 0, preset)


def test_dataset_is_what_a_user_would_have(tmp_path):
    write_ct_dataset(tmp_path, 4, (12, 16, 20), 0)
    found = scan([tmp_path / "images"], tmp_path / "m.csv", labels=tmp_path / "labels")
    assert len(found.rows) == len({row.patient for row in found.rows}) == 4
    assert all(row.label for row in found.rows)
    assert [row.modality for row in found.rows] == ["CT"] * 4
    assert sum("modality guessed" in row.qc for row in found.rows) == 2
    assert {left.source.rsplit("/")[-1] for left in found.rejected} == {"broken.nii.gz", "notes.txt"}


def test_dicom_voxels_lie_where_the_affine_says(tmp_path):
    size, tilt = (12, 16, 20), 4.0
    write_ct_dataset(tmp_path, 4, size, 0)
    place = affine(size, tilt)
    np.testing.assert_allclose(place @ [5.5, 7.5, 9.5, 1], [0, 0, 0, 1], atol=1e-9)
    label = nib.load(tmp_path / "labels" / "case_003.nii.gz")
    np.testing.assert_allclose(label.affine[:, [2, 1, 0, 3]], place, atol=1e-4)
    image, _ = ct_case(rng([0, 3]), size, "bright")
    for file in sorted((tmp_path / "images" / "case_003").iterdir()):
        head = pydicom.dcmread(file)
        z = head.InstanceNumber - 1
        row, column = 3, 4  # stored pixel (3, 4) is voxel (z, 16 - 1 - 3, 20 - 1 - 4)
        along, down = np.array(head.ImageOrientationPatient).reshape(2, 3)
        lps = (
            np.array(head.ImagePositionPatient)
            + along * head.PixelSpacing[1] * column
            + down * head.PixelSpacing[0] * row
        )
        np.testing.assert_allclose(lps * [-1, -1, 1], (place @ [z, 12, 15, 1])[:3], atol=1e-4)
        assert head.pixel_array[row, column] * head.RescaleSlope + head.RescaleIntercept == image[z, 12, 15]
