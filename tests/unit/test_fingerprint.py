"""Near-copies are found by their pixels, whatever they are called."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import data as pictures

from medssl.data import manifest
from medssl.data.cache import Cache
from medssl.data.fingerprint import fingerprint, near_copies, pairs
from medssl.data.prepare import prepare
from medssl.data.read import image, nifti
from medssl.data.read.volume import make
from medssl.data.scan.scan import scan
from medssl.runtime import init_weights
from medssl.runtime.init_weights import FRESH
from medssl.runtime.subsets import leaks

KEY = b"a key of some length"
BRAINS = Path(__file__).resolve().parents[3] / "shared/data/brainmr"


def taken(array: np.ndarray, key: bytes) -> str:
    """The fingerprint of an image (C,*S) of 1 mm."""
    affine = np.eye(4)[[2, 1, 0, 3]] if array.ndim == 4 else np.eye(3)
    return fingerprint(make(array, affine, "MR"), key)


def camera() -> np.ndarray:
    return pictures.camera()[::2, ::2].astype(np.float32)


def textures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    made = [ndimage.gaussian_filter(rng.normal(size=(64, 80)), 6) for _ in range(count)]
    return [np.rint(255 * (x - x.min()) / np.ptp(x)).astype(np.uint8) for x in made]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[::2, ::2],
        lambda x: 3 * x + 40,
        lambda x: x + np.random.default_rng(0).normal(0, 20, x.shape).astype(np.float32),
        lambda x: ndimage.gaussian_filter(x, 1.5),
    ],
)
def test_size_scale_noise_and_blur_leave_a_copy_a_copy(change):
    one, other = taken(camera()[None], KEY), taken(change(camera())[None], KEY)
    assert pairs([one, other]) == [(0, 1)]


def test_the_cosine_is_the_correlation_of_thumbnails():
    rng, first = np.random.default_rng(0), camera()
    smooth = ndimage.gaussian_filter(rng.normal(size=first.shape), 4)
    for weight in (100, 400, 600, 800, 1200):
        other = first + weight * smooth
        small = [
            np.asarray(Image.fromarray(x.astype(np.float32)).resize((32, 32), Image.Resampling.BILINEAR))
            for x in (first, other)
        ]
        correlation = np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]
        if abs(correlation - 0.97) > 0.01:
            assert bool(pairs([taken(x[None], KEY) for x in (first, other)])) == (correlation > 0.97)


def test_other_pictures_and_other_keys_fit_nothing():
    prints = [taken(x[None], KEY) for x in [camera(), camera()[::-1], camera()[:, ::-1], *textures(20)]]
    assert pairs(prints) == []
    assert pairs([prints[0]], [taken(camera()[None], b"another key altogether")]) == []
    assert pairs([prints[0], ""], ["", prints[0]]) == [(0, 1)]


def test_groups_are_chains():
    x, y = camera(), ndimage.gaussian_filter(np.random.default_rng(0).normal(size=camera().shape), 8)
    line = [taken((x + weight * y)[None], KEY) for weight in (0, 220, 440, 660, 880, 5000)]
    assert (0, 4) not in pairs(line)
    assert near_copies(line) == [0, 0, 0, 0, 0, 5]


def test_in_3d_all_three_middle_slices_count():
    rng = np.random.default_rng(0)
    volume = ndimage.gaussian_filter(rng.normal(size=(40, 44, 48)), 4).astype(np.float32)
    other = ndimage.gaussian_filter(rng.normal(size=(40, 44, 48)), 4).astype(np.float32)
    other[20] = volume[20]  # one slice of three is the same
    prints = [taken(v[None], KEY) for v in (volume, volume * 2 + 1, other)]
    assert pairs(prints) == [(0, 1)]


def saved(folder, images):
    folder.mkdir(parents=True)
    for name, pixels in images.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")


def test_a_split_keeps_near_copies_together(tmp_path):
    images = {f"p{n}": x for n, x in enumerate(textures(12))}
    images["q"] = np.clip(images["p3"].astype(int) + 9, 0, 255).astype(np.uint8)[::2, ::2]
    saved(tmp_path / "in", images)
    for seed in range(6):
        found = scan([tmp_path / "in"], tmp_path / f"{seed}/m.csv", split=(0.5, 0.25, 0.25), seed=seed)
        parts = {row.source: row.split for row in found.rows}
        assert parts["q.png"] == parts["p3.png"]
        assert (
            "2 images are near-copies of one another under several names: each group stays within one split"
            in found.notices
        )


def test_many_images_that_look_alike_are_no_copies(tmp_path):
    rng, same = np.random.default_rng(0), textures(1)[0].astype(int)
    saved(
        tmp_path / "in",
        {f"p{n}": np.clip(same + rng.normal(0, 3, same.shape), 0, 255).astype(np.uint8) for n in range(10)},
    )
    found = scan([tmp_path / "in"], tmp_path / "m.csv", split=(0.6, 0.2, 0.2))
    assert Counter(row.split for row in found.rows) == {"train": 6, "val": 2, "test": 2}
    assert "10 images look alike, but are too many to be copies: the split does not keep them together" in found.notices


@pytest.fixture
def two_caches(tmp_path):
    """Two folders with one image in common, under other names, scanned with one key."""
    images = textures(8)
    saved(tmp_path / "a/in", {f"a{n}": x for n, x in enumerate(images[:4])})
    saved(tmp_path / "b/in", {f"b{n}": x for n, x in enumerate([*images[4:], images[2]])})
    scan([tmp_path / "a/in"], tmp_path / "a/m.csv")
    scan([tmp_path / "b/in"], tmp_path / "b/m.csv", key=tmp_path / "a/m.key")
    return [prepare(tmp_path / f"{name}/m.csv", tmp_path / f"{name}/c", preset="xray") for name in "ab"]


def test_what_was_pretrained_on_is_found_among_the_test_images_by_its_pixels(two_caches):
    before, cache = two_caches
    origin = FRESH._replace(
        init="pretrain", patients=sorted(before.patients), fingerprint_key=before.fingerprint_key,
        fingerprints=[case.fingerprint for case in before.cases.values()],
    )  # fmt: skip
    assert not before.patients & cache.patients
    found = init_weights.overlap(origin, cache, cache.patients)
    assert len(found["near_copies"]) == 1
    assert "1 test images are near-copies of images that they were trained on" in found["sentence"]
    assert init_weights.overlap(origin._replace(fingerprint_key="another"), cache, cache.patients)["near_copies"] == []


def test_near_copies_between_parts_are_told(two_caches):
    cache = two_caches[0]
    ids = cache.ids
    assert leaks({"train": ids[:2], "val": [], "test": ids[2:]}, cache) == []
    cache.cases[ids[3]] = cache.cases[ids[0]]._replace(patient="other")
    said = leaks({"train": ids[:2], "val": [], "test": ids[2:]}, cache)
    assert said == ["1 of 2 test images are near-copies of images in train"]


def test_the_key_is_not_in_the_cache(two_caches, tmp_path):
    secret = (tmp_path / "a/m.key").read_text().strip()
    assert not any(secret in file.read_text() for file in two_caches[0].path.rglob("*.json"))
    assert Cache(two_caches[0].path).fingerprint_key == two_caches[1].fingerprint_key != ""


def test_a_cache_holds_the_fingerprint_of_the_whole_image(tmp_path):
    """A black border that differs is cropped away by the preset, and would move the thumbnail."""
    saved(tmp_path / "in", {"a": np.pad(textures(1)[0], ((9, 3), (0, 30)))})
    scan([tmp_path / "in"], tmp_path / "m.csv")
    cache = prepare(tmp_path / "m.csv", tmp_path / "c", preset="mr")
    (case,) = cache.cases.values()
    secret = manifest.key_of(manifest.read(tmp_path / "m.csv"))
    (file,) = (tmp_path / "in").iterdir()
    assert case.shape < (76, 110)
    assert case.fingerprint == fingerprint(image.read(file), secret)


def test_axes_stored_in_another_order_leave_a_copy_a_copy(tmp_path):
    cube = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(20, 24, 28)), 3).astype(np.float32)
    picture = nibabel.Nifti1Image(cube, np.diag([1.0, 2.0, 3.0, 1.0]))
    turned = nibabel.as_closest_canonical(picture).as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    prints = []
    for name, one in (("a", picture), ("b", turned)):
        nibabel.save(one, tmp_path / f"{name}.nii")
        prints.append(fingerprint(nifti.read(tmp_path / f"{name}.nii"), KEY))
    assert prints[0] == prints[1]


@pytest.mark.skipif(not BRAINS.is_dir(), reason="the set of brain slices is not here")
@pytest.mark.parametrize("count", [900, pytest.param(None, marks=pytest.mark.slow)])
def test_groups_of_a_public_set_that_leaks(count):
    with (BRAINS / "metadata.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["part"] == "pool"][:count]
    prints = [fingerprint(image.read(BRAINS / row["image"]), KEY) for row in rows]
    groups, found = [row["group"] for row in rows], near_copies(prints)

    def within(names):
        return sum(n * (n - 1) // 2 for n in Counter(names).values())

    both = within(zip(groups, found, strict=True))
    assert both / within(groups) >= 0.95
    assert both / within(found) >= 0.9
