"""Labels on the grid of their image, and what is lost on the way."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medssl.data.grid import to_array
from medssl.data.prepare import prepare
from medssl.data.preparing.fill import claim
from medssl.data.preparing.label import label_to_array, lost_labels
from medssl.data.preparing.settings import label_options, settings
from medssl.data.read.volume import make, resample
from medssl.data.scan.scan import scan
from medssl.types import InputError

SAR = np.eye(4)[[2, 1, 0, 3]]  # axes toward Superior, Anterior, Right, as in caches


def spots() -> tuple[np.ndarray, np.ndarray]:
    """A bright body, and a label: one large part, and single voxels of values 1, 2 and 3 on odd places."""
    image = np.full((24, 24, 24), 100, np.int16)
    image[:2] = 0
    label = np.zeros(image.shape, np.uint8)
    label[6:14, 6:14, 6:14] = 1
    label[17, 5, 5] = label[17, 17, 17] = 2
    label[5, 17, 5] = 3
    label[17, 17, 5] = 1
    return image, label


def prepared(spacing, **options):
    image, label = (make(part[None], SAR, "OT") for part in spots())
    geometry = to_array(image, settings("mr", [(1, 1, 1)], spacing))[1]
    return label_to_array(label, geometry, label_options(**options))[0], geometry


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (3.0, 3.0, 3.0), (1.0, 3.0, 3.0), (2.7, 1.3, 4.1)])
def test_parts_that_vanish_are_counted_as_an_independent_count_does(spacing):
    array, geometry = prepared(spacing)
    window, label = geometry["crop"], spots()[1]
    inside = label[tuple(slice(a, a + n) for a, n in zip(window["start"], window["size"], strict=True))]
    lost, of = 0, 0
    for value in (1, 2, 3):  # value by value, each voxel of the new grid looked up on its own
        parts, count = ndimage.label(inside == value, np.ones((3, 3, 3)))
        grid = np.array(geometry["array"]["affine"])[2::-1, 3] - np.array(window["start"])
        places = [
            np.clip(
                np.floor(grid[a] + np.arange(array.shape[a]) * spacing[a] + 0.5).astype(int), 0, inside.shape[a] - 1
            )
            for a in range(3)
        ]
        left = set(np.unique(parts[np.ix_(*places)])) - {0}
        lost, of = lost + count - len(left), of + count
    assert (geometry["label_lost"]["parts"], geometry["label_lost"]["of"]) == (lost, of)
    assert set(geometry["label_lost"]["values"]) == {1, 2, 3} - set(np.unique(array))
    assert of == 5


def test_each_part_keeps_a_voxel_where_that_is_asked_for():
    bare, geometry = prepared((3.0, 3.0, 3.0))
    kept, after = prepared((3.0, 3.0, 3.0), keep_small=True)
    assert geometry["label_lost"]["parts"] > 0
    assert after["label_lost"] == {"parts": 0, "of": 5, "values": []}
    assert set(np.unique(kept)) == {0, 1, 2, 3}
    assert (kept != bare).sum() == geometry["label_lost"]["parts"], "a voxel each, and nothing else"
    assert not bare[kept != bare].any()


def test_nothing_is_lost_on_the_native_grid():
    array, geometry = prepared(None)
    assert "label_lost" not in geometry
    assert set(np.unique(array)) == {0, 1, 2, 3}


def test_what_is_lost_is_told_by_parts_and_values():
    found = [{"label_cut": 0.0, "label_lost": {"parts": 2, "of": 5, "values": [3]}}, {"label_cut": 0.25}]
    assert lost_labels(found) == [
        "the crop to the patient cuts off up to 25.0% of the label in 1 cases",
        "at this spacing 2 of 5 connected label parts in 1 cases vanish, and some have no voxel of value 3 left: "
        "use a finer --spacing, or --keep-small, which keeps one voxel of each",
    ]


@pytest.mark.parametrize("step", [(2.0, 0.7, 1.3), (1.5, 1.5, 3.0)])
def test_nearest_is_that_of_scipy(step):
    label = np.random.default_rng(0).integers(0, 5, (13, 17, 11)).astype(np.uint8)
    found = resample(make(label[None], np.eye(4), "OT"), step, label=True)
    at = np.linalg.inv(np.eye(4)) @ found.affine
    wanted = ndimage.affine_transform(label, at[:3, :3], at[:3, 3], found.array.shape[1:], order=0, mode="nearest")
    np.testing.assert_array_equal(found.array[0], wanted)


def test_label_values_are_mapped_and_the_map_is_part_of_the_cache(tmp_path):
    image, label = spots()
    for folder, array in (("images", image), ("labels", (label > 0) * np.uint8(255))):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / folder / "a.nii.gz")
    found = scan([tmp_path / "images"], tmp_path / "m.csv", labels=tmp_path / "labels")
    assert "the label values are 0, 255: `medssl prepare --label-map 255=1` makes them 0 to 1" in found.notices
    cache = prepare(tmp_path / "m.csv", tmp_path / "c", preset="mr", label_map={255: 1})
    np.testing.assert_array_equal(np.unique(cache.label(cache.ids[0])[...]), [0, 1])
    with pytest.raises(InputError, match="prepared with labels"):
        prepare(tmp_path / "m.csv", tmp_path / "c", preset="mr")
    with pytest.raises(InputError, match="class numbers are 0"):
        label_options({1: -1})


def test_a_cache_from_before_label_options_is_gone_on_with(tmp_path):
    head = claim(tmp_path / "c", settings("mr", [(1, 1, 1)]), "m")
    file = tmp_path / "c" / "cache.json"
    file.write_text(file.read_text().replace('"labels"', '"others"'))
    assert claim(tmp_path / "c", settings("mr", [(1, 1, 1)]), "m")["salt"] == head["salt"]
