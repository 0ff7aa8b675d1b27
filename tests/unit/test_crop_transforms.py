from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import ScaleIntensityd
from torch.utils.data import DataLoader, Dataset

from medssl.crop import contrastive
from medssl.crop.contrastive import contrastive_window
from medssl.crop.random import RandomCrop
from medssl.crop.transforms import ContrastiveCropd, RandResizedCropd
from medssl.transforms.resampling.warp import warp
from medssl.types import InputError

BOX = (0.5, 0.25, 0.75, 0.5)


def grid(*shape):
    """An image whose channels hold each voxel's own coordinates."""
    return np.indices(shape).astype(np.float32)


def both():
    return [
        RandResizedCropd("image", size=(12, 10)),
        ContrastiveCropd("image", size=(12, 10), box_source={0: BOX}),
    ]


@pytest.mark.parametrize("crop", both(), ids=lambda c: type(c).__name__)
def test_voxels_come_from_the_drawn_window(crop):
    """Coordinates interpolate linearly: output voxel o sits at start + (o + 1/2) * side / size - 1/2."""
    out = crop.set_random_state(1)({"image": grid(40, 50), "index": 0})["image"]
    start, side = crop.drawn["window"]
    for axis, n in enumerate((12, 10)):
        where = start[axis] + (np.arange(n) + 0.5) * side[axis] / n - 0.5
        line = out[axis, :, 0] if axis == 0 else out[axis, 0]
        np.testing.assert_allclose(line, np.clip(where, 0, (39, 49)[axis]), atol=1e-4)


def test_the_affine_moves_with_the_voxels():
    affine = torch.tensor([[0, 0, 2.0, -30], [0, 1.5, 0, 7], [3.0, 0, 0, 1], [0, 0, 0, 1]], dtype=torch.float64)
    volume = MetaTensor(torch.from_numpy(grid(20, 30, 40)), affine=affine)
    crop = RandResizedCropd("image", size=(8, 9, 10), scale=(0.1, 0.3)).set_random_state(0)
    out = crop({"image": volume})["image"]
    assert isinstance(out, MetaTensor)
    world_before = affine[:3, :3] @ out[:, 3, 4, 5].double() + affine[:3, 3]  # the values are source coordinates
    world_after = out.affine[:3, :3].double() @ torch.tensor([3.0, 4, 5]).double() + out.affine[:3, 3]
    torch.testing.assert_close(world_after, world_before.as_tensor(), atol=1e-3, rtol=0)


def test_sizes_follow_the_spacing_of_the_affine():
    volume = MetaTensor(torch.zeros(1, 40, 200, 200), affine=torch.diag(torch.tensor([5.0, 1, 1, 1])))
    crop = RandResizedCropd("image", size=(8, 8, 8), scale=(0.01, 0.01), ratio=(1.0, 1.0)).set_random_state(0)
    crop({"image": volume})
    side = (200**3 * 0.01) ** (1 / 3)
    assert crop.drawn["window"].size == (round(side / 5), round(side), round(side))


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor, MetaTensor])
def test_keys_share_the_draw_and_keep_their_container(make):
    label = (grid(40, 50)[:1] // 9).astype(np.uint8)
    crop = RandResizedCropd(["image", "label"], size=(30, 30), mode=("linear", "nearest")).set_random_state(3)
    out = crop({"image": make(grid(40, 50)), "label": make(label)})
    assert type(out["image"]) is type(make(label))
    assert out["label"].dtype == make(label).dtype
    assert set(np.unique(out["label"])) <= set(np.unique(label))
    nearest = np.floor(np.clip(np.asarray(out["image"][:1]) + 0.5, 0, 39)) // 9
    assert (np.abs(nearest - np.asarray(out["label"])) > 0).mean() < 0.02  # only where .5 rounds either way


def test_set_random_state_of_a_compose_fixes_the_draw():
    def run(seed):
        pipe = Compose([ScaleIntensityd("image"), *both()]).set_random_state(seed)
        return [pipe({"image": grid(40, 50), "index": 0})["image"] for _ in range(2)]

    first, again, other = run(5), run(5), run(6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[1])


def test_a_draw_can_be_replayed():
    crop, data = RandResizedCropd("image", size=(8, 8)).set_random_state(0), {"image": grid(20, 30)}
    assert np.array_equal(crop(data)["image"], crop.replay(data, crop.drawn)["image"])
    assert np.array_equal(crop(data)["image"], crop.apply(data["image"], crop.drawn))


def test_the_window_is_the_policys_from_the_same_generator():
    crop = ContrastiveCropd("image", size=(8, 8), box_source=lambda data: BOX, alpha=0.1)
    drawn = crop.draw(np.random.default_rng(4), (1, 90, 80), box=BOX)
    expected = contrastive_window((90, 80), BOX, 0.1, RandomCrop(), np.random.default_rng(4), (1.0, 1.0))
    assert drawn["window"] == expected


@pytest.mark.parametrize("index", [1, np.int64(1), torch.tensor(1)])
def test_boxes_are_looked_up_by_index(index):
    boxes = torch.tensor([[0, 0, 1, 1], [0.9, 0.9, 0.95, 0.95]], dtype=torch.float64).share_memory_()
    crop = ContrastiveCropd("image", size=(8, 8), box_source=boxes, scale=(0.05, 0.05)).set_random_state(0)
    crop({"image": grid(100, 100), "index": index})
    start, side = crop.drawn["window"]
    assert all(85 <= a + s // 2 <= 95 for a, s in zip(start, side, strict=True))
    boxes[1] = torch.tensor([0.1, 0.1, 0.15, 0.15])  # renewed: seen at once
    crop({"image": grid(100, 100), "index": index})
    assert crop.drawn["window"].start[0] < 20


def test_missing_keys_are_left_alone_if_allowed():
    crop = RandResizedCropd(["image", "label"], size=(8, 8), allow_missing_keys=True)
    assert crop({"image": grid(20, 20)})["image"].shape == (2, 8, 8)
    with pytest.raises(KeyError):
        RandResizedCropd(["image", "label"], size=(8, 8))({"image": grid(20, 20)})


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="size is"):
        RandResizedCropd("image", size=(8, 8))({"image": np.zeros((1, 5, 5, 5))})
    with pytest.raises(InputError, match="the keys have shapes"):
        RandResizedCropd(["a", "b"], size=(8, 8))({"a": grid(20, 20), "b": grid(20, 21)})
    with pytest.raises(InputError, match="no key 'index'"):
        ContrastiveCropd("image", size=(8, 8), box_source={0: BOX})({"image": grid(20, 20)})
    with pytest.raises(InputError, match="0 <= low <= high <= 1"):
        ContrastiveCropd("image", size=(8, 8), box_source={0: (0.5, 0, 0.2, 1)})({"image": grid(20, 20), "index": 0})
    with pytest.raises(InputError, match="does not fit an image"):
        ContrastiveCropd("image", size=(8, 8), box_source={0: (0, 0, 0, 1, 1, 1)})({"image": grid(9, 9), "index": 0})
    for boxes in ({0: BOX}, torch.tensor([BOX])):
        with pytest.raises(InputError, match="box_source has no box for index 7"):
            ContrastiveCropd("image", size=(8, 8), box_source=boxes)({"image": grid(20, 20), "index": 7})
    with pytest.raises(InputError, match="does not fit an image"):
        ContrastiveCropd("image", size=(8, 8), box_source=torch.zeros(3))({"image": grid(20, 20), "index": 1})
    with pytest.raises(InputError, match="no key 'box' with a box: set box_key"):
        ContrastiveCropd("image", size=(8, 8))({"image": grid(20, 20), "index": 0})
    with pytest.raises(InputError, match="NaN"):
        RandResizedCropd("image", size=(8, 8))({"image": np.full((1, 9, 9), np.nan)})


@pytest.mark.parametrize("shape", [(60, 50), (30, 60, 50)])
def test_a_crop_that_moves_is_sampled_once_by_the_map_of_both(shape):
    """Coordinates sampled linearly are the map itself, so that two samplings would not hide."""
    size = tuple(s // 3 for s in shape)
    moves = {"flip": 0.5, "rotate": 10.0, "zoom": 0.1, "elastic": 1.0}
    crop = ContrastiveCropd("x", size, {0: (0.4,) * len(shape) + (0.6,) * len(shape)}, scale=(0.2, 0.4), **moves)
    crop.set_random_state(3)
    image = grid(*shape)
    found = crop({"x": image, "index": 0})["x"]
    drawn = crop.drawn
    assert drawn["elastic_mm"] > 0
    assert np.array_equal(crop.replay({"x": image, "index": 0}, json.loads(json.dumps(drawn)))["x"], found)
    assert np.array_equal(found, warp(image, crop.map(image.shape, drawn), average=True))
    still = ContrastiveCropd("x", size, {0: (0.4,) * len(shape) + (0.6,) * len(shape)}, scale=(0.2, 0.4))
    still.set_random_state(3)
    still({"x": image, "index": 0})
    assert still.drawn["window"] == drawn["window"]  # what is drawn of where to look does not depend on the moves


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ContrastiveCropd("x", (8, 8), {0: BOX}, alpha=np.inf), "alpha is inf, give a number"),
        (lambda: ContrastiveCropd("x", (8, 8), {0: BOX}, alpha="a"), "alpha is 'a', give a number"),
        (lambda: RandResizedCropd("x", (8, 8), scale=0.5), "scale is 0.5: give two"),
        (lambda: RandResizedCropd("x", (8, 8), scale=(None, 1)), "scale is .*: give two"),
        (lambda: RandResizedCropd("x", (8, 8), scale=(True, True)), "scale is .*: give two"),
        (lambda: RandResizedCropd("x", (8, 8), scale=[(0.1, 0.2), (0.3, 0.4)]), "scale is .*: give two"),
        (lambda: RandResizedCropd("x", (8, 8), ratio=(1, np.inf)), "ratio is .*: give two"),
        (lambda: RandResizedCropd("x", (8, 8), turn="no"), "turn is 'no', give True or False"),
        (lambda: RandResizedCropd("x", (8, 8), average="x"), "average is 'x', give True or False"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(make, told):
    with pytest.raises(InputError, match=told):
        make()


@pytest.mark.parametrize(
    ("source", "index", "told"),
    [
        ([BOX], "a", "has no box for index a"),
        ([BOX], None, "has no box for index None"),
        ([BOX, BOX], -1, "has no box for index -1"),
        (torch.tensor([BOX]), np.array([0, 0]), "has no box for index"),
        ({0: ("a", "b", "c", "d")}, 0, "give numbers"),
        ({0: None}, 0, r"does not fit an image|give numbers"),
    ],
)
def test_a_box_that_cannot_be_found_or_is_none_is_said(source, index, told):
    with pytest.raises(InputError, match=told):
        ContrastiveCropd("x", (8, 8), source)({"x": grid(20, 20), "index": index})


def test_a_box_may_carry_a_gradient():
    boxes = torch.tensor([BOX], requires_grad=True)
    assert ContrastiveCropd("x", (8, 8), boxes)({"x": grid(20, 20), "index": 0})["x"].shape == (2, 8, 8)


CORNERS = [(0.1, 0.1), (0.1, 0.8), (0.8, 0.1), (0.8, 0.8)]


def sample(number):
    """An image of its own coordinates, with a small box of its own."""
    low = CORNERS[number % len(CORNERS)]
    return {"image": grid(100, 100), "place": (*low, *(edge + 0.1 for edge in low)), "number": number}


def centre(cropped):
    """Where an image of coordinates was cut."""
    return [float(np.asarray(axis).mean()) / 100 for axis in cropped["image"]]


def small(**more):
    return ContrastiveCropd("image", (8, 8), scale=(0.02, 0.02), ratio=(1.0, 1.0), **more).set_random_state(0)


def looks_where_it_should(found):
    for one in found:
        low = CORNERS[one["number"] % len(CORNERS)]
        assert all(edge - 0.02 <= at <= edge + 0.12 for edge, at in zip(low, centre(one), strict=True))


@pytest.mark.parametrize("more", [{"box_key": "place"}, {"box_source": lambda data: data["place"]}])
def test_threads_that_share_a_crop_mix_up_no_samples(more):
    crop = small(**more)
    with ThreadPoolExecutor(8) as pool:
        looks_where_it_should(pool.map(crop, map(sample, range(200))))


class Samples(Dataset):
    def __init__(self, crop):
        self.crop = crop

    def __len__(self):
        return 12

    def __getitem__(self, number):
        return self.crop(sample(number))


def test_processes_cut_each_sample_at_its_own_box():
    crop = small(box_key="place")
    found = DataLoader(Samples(crop), batch_size=None, num_workers=2)
    looks_where_it_should(found)


def test_a_copy_sees_boxes_that_are_renewed():
    boxes = torch.tensor([[0.1, 0.1, 0.2, 0.2]], dtype=torch.float64).share_memory_()
    copied = copy.deepcopy(Compose([small(box_source=boxes, index_key="number")]))
    boxes[0] = torch.tensor([0.8, 0.8, 0.9, 0.9])
    at = centre(copied(sample(0)))
    assert all(0.78 <= where <= 0.92 for where in at)


def test_a_policy_gives_the_box_of_a_sample_once_it_has_one():
    policy = contrastive.build(samples=2, spatial_dims=2, steps=10)
    crop = small(box_source=policy, index_key="number")
    anywhere = [centre(crop(sample(1))) for _ in range(30)]
    assert np.ptp(anywhere, axis=0).min() > 0.5
    policy.set_boxes(torch.tensor([0, 1]), torch.tensor([[0.1, 0.1, 0.2, 0.2], [0.1, 0.8, 0.2, 0.9]]))
    looks_where_it_should(crop(sample(number)) for number in (0, 1, 0, 1))
