from __future__ import annotations

import numpy as np
import pytest
import torch
from finetuning import SEGMENT, options, recipe

from medssl.data.phantom.cases import phantom_cache
from medssl.finetuning.loop import tune
from medssl.localization import peaks
from medssl.models.decoder import unet
from medssl.models.encoder import tiny
from medssl.models.heatmap import HeatmapNet
from medssl.tasks import localize_heatmap
from medssl.types import InputError


def code():
    """Two touching lesions of class 1 (of 2) and one of class 2: class + 3 * number."""
    made = np.zeros((16, 16), np.int64)
    made[4:8, 4:8], made[4:8, 8:10], made[12:14, 2:4] = 1 + 3, 1 + 6, 2 + 9
    return made


def test_the_aim_is_a_gaussian_round_each_centre():
    """Sigma is the larger of one voxel and a sixth of the side; a touching lesion has a peak of its own."""
    found = peaks.aim(code(), 2, (4, 4))
    assert np.argwhere(found.heat[0] == 1).tolist() == [[1, 1], [1, 2]]
    assert np.argwhere(found.heat[1] == 1).tolist() == [[3, 0]]
    assert np.argwhere(found.centres).tolist() == [[1, 1], [1, 2], [3, 0]]
    np.testing.assert_allclose(found.sides[:, 1, 2], np.log([4, 2]))
    away = ((4 * 2 + 1.5) - 5.5) ** 2 + ((4 * 1 + 1.5) - 5.5) ** 2  # cell (2, 1) to the centre of the first
    assert found.heat[0][2, 1] == pytest.approx(max(np.exp(-away / 2), np.exp(-(away + 9) / 2)), rel=1e-3)
    unknown = code()
    unknown[12:14, 2:4] = -1
    assert not peaks.aim(unknown, 2, (4, 4)).known[3, 0]


def test_the_loss_by_hand():
    """One centre with p .5 there, .1 elsewhere: (1-p)^2 log p and (1-y)^4 p^2 log(1-p); sizes |log 4 - 0| twice."""
    one = np.zeros((8, 8), np.int64)
    one[2:6, 2:6] = 1 + 2
    aim = peaks.aim(one, 1, (2, 2))
    output = torch.zeros(1, 3, 2, 2)
    output[0, 0] = float(np.log(0.1 / 0.9))
    (cell,) = np.argwhere(aim.centres)
    output[(0, 0, *cell)] = 0.0
    found = peaks.losses(output, torch.from_numpy(one)[None], 1)
    others = [(1 - aim.heat[0][i, j]) ** 4 for i in range(2) for j in range(2) if (i, j) != tuple(cell)]
    focal = -(0.25 * np.log(0.5) + sum(others) * 0.01 * np.log(0.9))
    assert found["focal"].item() == pytest.approx(focal, rel=1e-4)
    assert found["size"].item() == pytest.approx(0.1 * 2 * np.log(4), rel=1e-5)
    empty = peaks.losses(output, torch.zeros(1, 8, 8, dtype=torch.long), 1)
    assert empty["size"].item() == 0
    assert np.isfinite(empty["focal"].item())


def test_peaks_are_candidates_with_boxes_inside_the_image():
    chance, sides = np.zeros((1, 16, 16), np.float32), np.full((2, 16, 16), 6.0, np.float32)
    chance[0, 4:8, 8:12], chance[0, 4:8, 12:16], chance[0, 12:, :4] = 0.9, 0.5, 0.4
    found = peaks.candidates(chance, sides, ["mass"], (16, 16), 4, 100)
    assert [round(one.score, 2) for one in found] == [0.9, 0.4]  # .5 is beside a higher one
    assert (found[0].region.start, found[0].region.stop) == ((3, 7), (9, 13))
    assert found[0].region.centre == (5.5, 9.5)
    assert (found[1].region.start, found[1].region.stop) == ((11, 0), (16, 5))
    assert len(peaks.candidates(chance, sides, ["mass"], (16, 16), 4, 1)) == 1


@pytest.mark.parametrize(("dims", "stride"), [(2, 4), (3, 2)])
def test_the_grid_has_the_stride_of_its_dimension_and_starts_at_the_prior(dims, stride):
    encoder = tiny.build(spatial_dims=dims, in_channels=1, channels=(4, 8, 16))
    decoder = unet.build(spatial_dims=dims, channels=encoder.channels, strides=encoder.strides, norm="group")
    net = HeatmapNet(dims, encoder, decoder, 2)
    assert net.stride == stride
    found = net(torch.rand(1, 1, *[16] * dims))
    assert found.shape == (1, 2 + dims, *[16 // stride] * dims)
    assert found[:, :2].sigmoid().mean().item() == pytest.approx(0.01, rel=0.5)
    found.sum().backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


def test_a_run_with_a_heatmap_is_scored_by_boxes(tmp_path):
    phantom_cache(tmp_path / "cache", 6, (24, 24, 24), 0, "ct")
    task = {"kind": "localize", "head": "heatmap", "classes": ["lesion"], "hit": "centre"}
    made = recipe(SEGMENT, data={"cache": str(tmp_path / "cache")}, task=task, train={"steps": 2})
    results = tune(made, options(tmp_path / "run"))
    assert results["settings"]["head"] == "heatmap"
    assert results["test"]["summary"]["lesions"] >= 1
    assert "dice" not in results["test"]["summary"]
    assert 0 < results["settings"]["threshold"] < 1


def test_without_a_decoder_it_says_so():
    with pytest.raises(InputError, match="needs a decoder"):
        localize_heatmap.build(spatial_dims=2, classes=["a"]).model(tiny.build(spatial_dims=2, in_channels=1), None)


@pytest.mark.parametrize("key", ["hit_at", "least_mm3", "most_fp"])
def test_settings_that_cannot_be_are_refused_as_by_localize(key):
    with pytest.raises(InputError, match=rf"task\.{key}=-1.* must not be negative"):
        localize_heatmap.build(spatial_dims=2, classes=["a"], **{key: -1.0})
