"""All transforms in pipelines of MONAI's own: oblique volumes and tiles, threads that share one, and processes."""

from __future__ import annotations

import re
from inspect import signature

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, ThreadDataLoader
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose, CopyItemsd, Flipd, ScaleIntensityRanged

from medssl import crop, transforms
from medssl.data.phantom.cases import ct_case, histology

torch.set_num_threads(1)

NAMES = [*transforms.__all__, *crop.__all__]
OBLIQUE = torch.tensor([[1.9, -0.3, 0.2, -30], [0.4, 1.4, -0.1, 12], [-0.2, 0.1, 1.0, 5], [0, 0, 0, 1]]).double()
SIDE, SAMPLES = (20, 24, 22), 12
STAINED = [name for name in transforms.__all__ if "Stain" in name]
MOVES = {"RandAffineWarpd", "RandElasticWarpd", *crop.__all__}


def alone(samples: list[dict]) -> dict:
    """The one sample of a batch of one."""
    return samples[0]


def volume(number: int) -> dict:
    """A CT in HU, lying oblique in space, with a box of its own."""
    hu = ct_case(np.random.default_rng(number), SIDE)[0][None].astype(np.float32)
    return {"image": MetaTensor(hu, affine=OBLIQUE), "box": (0.2, 0.2, 0.2, 0.6, 0.6, 0.6), "number": number}


def tile(number: int) -> dict:
    """An RGB tile, whose numbers run as far as those of a CT, so that both are scaled alike."""
    pixels = np.moveaxis(histology(np.random.default_rng(number), (40, 36))[0], -1, 0).astype(np.float32)
    return {"image": MetaTensor(pixels / 255 * 2000 - 1000, affine=OBLIQUE), "box": (0, 0, 1, 1), "number": number}


def pipeline(name: str, prob: float = 1.0) -> Compose:
    """Scaled by MONAI, changed by ours, flipped by MONAI; "twin" is the same image under another key.

    Of MONAI's no random one: those keep their draw on the object, where threads overwrite it between two keys.
    """
    keys, settings = ["image", "twin"], {}
    if name == "RandWindowJitterd":
        settings = {"window": (0, 1)}
    if name in crop.__all__:
        settings = {"size": (12, 11, 10)}
    if name == "RandMaskBlocksd":
        settings = {"block": 4}
    make = getattr(crop if name in crop.__all__ else transforms, name)
    scale = ScaleIntensityRanged("image", -1000, 1000, 0, 1, clip=True)
    return Compose([scale, CopyItemsd("image", names="twin"), make(keys, **settings), Flipd(keys, 1)])


def samples(name: str) -> list[dict]:
    return [(tile if name in STAINED else volume)(number) for number in range(SAMPLES)]


def holds(name: str, sample: dict) -> None:
    """What goes for one sample: both keys had the same draw, and it lies where it says."""
    image, twin = sample["image"], sample["twin"]
    assert isinstance(image, MetaTensor)
    assert torch.equal(image.as_tensor(), twin.as_tensor())
    assert torch.equal(image.affine, twin.affine)
    assert image.isfinite().all()
    assert image.dtype == torch.float32
    assert 0 <= image.min()
    assert image.max() <= 1 + 1e-5
    if name not in MOVES:  # MONAI's flip turns one axis of the affine
        assert torch.allclose(image.affine[:3, [0, 2]], OBLIQUE[:3, [0, 2]])
        assert image.shape[1:] == ((40, 36) if name in STAINED else SIDE)


@pytest.mark.parametrize("name", NAMES)
def test_threads_share_a_pipeline_without_mixing_up_samples_or_draws(name):
    data = Dataset(samples(name), pipeline(name).set_random_state(0))
    loader = ThreadDataLoader(data, batch_size=1, collate_fn=alone, num_workers=4, use_thread_workers=True)
    found = list(loader)
    assert [int(sample["number"]) for sample in found] == list(range(SAMPLES))
    for sample in found:
        holds(name, sample)
    assert len({sample["image"].numpy().tobytes() for sample in found}) == SAMPLES


@pytest.mark.parametrize("name", NAMES)
def test_every_transform_explains_its_arguments(name):
    """`Args:` names each argument of the constructor."""
    make = getattr(crop if name in crop.__all__ else transforms, name)
    explained = make.__doc__.partition("Args:")[2]
    assert [argument for argument in signature(make).parameters if not re.search(rf"\b{argument}\b", explained)] == []


class Every(torch.utils.data.Dataset):
    """A sample of each transform."""

    def __init__(self):
        self.pipelines = [pipeline(name).set_random_state(1) for name in NAMES]

    def __len__(self):
        return len(NAMES)

    def __getitem__(self, number):
        return self.pipelines[number](samples(NAMES[number])[0])


def test_processes_take_every_transform():
    found = list(DataLoader(Every(), batch_size=1, collate_fn=alone, num_workers=2))
    assert len(found) == len(NAMES)
    for name, sample in zip(NAMES, found, strict=True):
        holds(name, sample)


CORNERS = [(z, y, x) for z in (0.1, 0.8) for y in (0.1, 0.8) for x in (0.1, 0.8)]


def coordinates(number: int) -> dict:
    """A volume whose values are each voxel's index, with a small box of its own."""
    low = CORNERS[number % len(CORNERS)]
    image = MetaTensor(np.indices((50, 50, 50)).astype(np.float32), affine=OBLIQUE)
    return {"image": image, "box": np.array([*low, *(edge + 0.1 for edge in low)]), "number": number}


@pytest.mark.parametrize(
    "load",
    [
        lambda data: ThreadDataLoader(data, batch_size=1, collate_fn=alone, num_workers=6, use_thread_workers=True),
        lambda data: DataLoader(data, batch_size=1, collate_fn=alone, num_workers=2),
    ],
    ids=["threads", "processes"],
)
def test_a_box_per_sample_reaches_the_sample_alone_and_the_affine_tells_where(load):
    cut = crop.ContrastiveCropd("image", (8, 8, 8), box_key="box", scale=(0.01, 0.01), ratio=(1.0, 1.0))
    data = Dataset([coordinates(number) for number in range(32)], Compose([cut]).set_random_state(0))
    for sample in load(data):
        image, low = sample["image"], CORNERS[int(sample["number"]) % len(CORNERS)]
        centre = image.as_tensor().flatten(1).mean(1).double()
        assert all(edge - 0.03 <= at / 50 <= edge + 0.13 for edge, at in zip(low, centre.tolist(), strict=True))
        middle = image.affine[:3, :3].double() @ torch.tensor([3.5] * 3).double() + image.affine[:3, 3].double()
        torch.testing.assert_close(middle, OBLIQUE[:3, :3] @ centre + OBLIQUE[:3, 3], atol=0.05, rtol=0)
