"""A refresh of crop boxes: it gives every sample its box and leaves no trace in network, modes and random streams."""

from __future__ import annotations

import random
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from medssl.crop import contrastive
from medssl.crop.heat import box_from_map, heat_map
from medssl.data.phantom.cases import phantom_cache
from medssl.models.encoder import tiny
from medssl.pretraining import crop_refresh
from medssl.types import Window
from medssl.views import build

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    cache = phantom_cache(tmp_path_factory.mktemp("phantoms") / "cache", 5, (40, 48), 0, "xray")
    maker = build(spatial_dims=2, size=[32, 32], preset="xray")
    return crop_refresh.FullVolumes(cache, sorted(cache.ids), maker, (32, 32))


def encoder():
    """With batch norms, one of which is kept in evaluation mode."""
    torch.manual_seed(0)
    net = tiny.build(spatial_dims=2, in_channels=1, channels=(8, 16), norm="batch").train()
    net.levels[1].norm2.eval()
    return net


def policy(samples, **changed):
    return contrastive.build(samples=samples, spatial_dims=2, steps=10, **changed)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_refresh_leaves_weights_statistics_modes_and_random_streams_alone(wholes, workers):
    net, crop = encoder(), policy(len(wholes))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    streams = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    crop_refresh.refresh(Fabric(accelerator="cpu", devices=1), net, crop, wholes, batch=2, workers=workers)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert random.getstate() == streams[1]
    assert np.array_equal(np.random.get_state()[1], streams[2])  # noqa: NPY002


def test_every_sample_gets_the_box_of_its_own_map_inside_its_body(wholes):
    net, crop = encoder(), policy(len(wholes), threshold=0.6, min_side=0.0)
    crop_refresh.refresh(Fabric(accelerator="cpu", devices=1), net, crop, wholes, batch=2, workers=0)
    net.eval()
    for number in range(len(wholes)):
        case = wholes.cache.cases[wholes.ids[number]]
        start, size = case.foreground
        inside = torch.tensor([[s / n for s, n in zip(start, case.shape, strict=True)],
                               [(s + z) / n for s, z, n in zip(start, size, case.shape, strict=True)]])  # fmt: skip
        with torch.no_grad():
            heat = heat_map(net(wholes[number][1][None]), "auto")[0]
        expected = box_from_map(heat, (32, 32), threshold=0.6, foreground=inside.flatten())
        torch.testing.assert_close(crop.boxes[number], expected, rtol=0, atol=1 / 32)
    assert len({tuple(box) for box in crop.boxes.tolist()}) == len(wholes), "phantoms differ, and so do their boxes"


class Bright(torch.nn.Module):
    """Fires at what is bright, in cells of 4 voxels."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, x_BC):
        return (self.gain * torch.nn.functional.avg_pool3d(x_BC, 4),)


def planted(*spots):
    """A CT whose body is a wide cross in air, with `spots` of 4 voxels, as a cache, a maker of views and a case."""
    hu = np.full((1, 24, 48, 48), -1000.0, np.float32)
    hu[..., 16:32, :] = hu[..., 16:32] = 0.0
    for z, y, x in spots:
        hu[0, z : z + 4, y : y + 4, x : x + 4] = 1000.0
    case = SimpleNamespace(
        preset="ct", shape=hu.shape[1:], intensity=((-1000.0, 1000.0),), foreground=Window((0, 0, 0), hu.shape[1:])
    )
    cache = SimpleNamespace(cases={"a": case}, image=lambda name: hu)
    maker = SimpleNamespace(whole=lambda source, case, size: (source + 1000) / 2000)
    return crop_refresh.FullVolumes(cache, ["a"], maker, case.shape)


def test_what_is_hot_in_air_within_the_bodys_box_does_not_stretch_the_crop_box():
    lesion, marker = (8, 28, 20), (4, 4, 40)
    crops = []
    for spots in ([lesion], [lesion, marker]):
        crop = contrastive.build(samples=1, spatial_dims=3, steps=10, threshold=0.6, min_side=0.0)
        crop_refresh.refresh(Fabric(accelerator="cpu", devices=1), Bright(), crop, planted(*spots), batch=1, workers=0)
        crops.append(crop)
    plain, marked = (crop.boxes[0] for crop in crops)
    assert torch.equal(plain, marked)
    low, high = (marked.reshape(2, 3) * torch.tensor([24, 48, 48])).numpy()
    assert (low <= np.add(lesion, 1)).all()
    assert (np.add(lesion, 3) <= high).all()
    assert (high - low < 10).all()


@pytest.mark.parametrize(("samples", "world"), [(10, 3), (9, 3), (2, 3), (1, 1)])
def test_the_shares_of_the_ranks_are_equal_and_cover_all(samples, world, monkeypatch):
    monkeypatch.setattr(crop_refresh.ranks, "world", lambda: world)
    shares = []
    for rank in range(world):
        monkeypatch.setattr(crop_refresh.ranks, "rank", lambda rank=rank: rank)
        shares.append([i for batch in crop_refresh._shares(samples, 2) for i in batch])
    assert {len(share) for share in shares} == {-(-samples // world)}
    assert {i for share in shares for i in share} == set(range(samples))


def test_modes_come_back_after_an_error():
    net = encoder()
    with suppress(RuntimeError), crop_refresh.evaluating(net):
        assert not any(module.training for module in net.modules())
        raise RuntimeError
    assert net.training
    assert not net.levels[1].norm2.training
