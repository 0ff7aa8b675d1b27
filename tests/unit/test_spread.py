"""The spread of features by level: hand cases, and that a survey changes no loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medssl.methods import moco_v2
from medssl.models import spread
from medssl.models.encoder import tiny
from medssl.pretext import Pretext
from medssl.types import Views


def found(x: torch.Tensor) -> dict[str, float]:
    return {name: value.item() for name, value in spread.of_levels(nn.Identity(), (x,)).items()}


def test_images_that_look_alike_share_all_their_variance_within() -> None:
    x = torch.rand(1, 3, 8, 8).repeat(5, 1, 1, 1)
    assert found(x)["between_level0"] == pytest.approx(0, abs=1e-6)


def test_flat_images_share_it_between() -> None:
    x = torch.rand(5, 3, 1, 1).repeat(1, 1, 8, 8)
    assert found(x)["between_level0"] == pytest.approx(1, abs=1e-5)


def test_half_and_half() -> None:
    """Means of -1 and 1, and within each image deviations of -1 and 1: variances of 1 and 1."""
    inside = torch.tensor([-1.0, 1.0]).repeat(2)[None, None]
    assert found(torch.cat([inside - 1, inside + 1]))["between_level0"] == pytest.approx(0.5)


def test_rank_counts_the_directions_in_which_images_differ() -> None:
    ends = torch.cat([torch.eye(4), -torch.eye(4)])[:, :, None, None] + 3  # four directions around a common mean
    assert found(ends)["rank_level0"] == pytest.approx(4, abs=1e-3)
    assert found(ends[[0, 4]])["rank_level0"] == pytest.approx(1, abs=1e-3)


def test_weight_norm_is_of_filters_and_matrices() -> None:
    net = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    nn.init.constant_(net[0].weight, 3.0)
    assert spread.of_levels(net, ())["weight_norm"].item() == pytest.approx(18**0.5)


def test_a_survey_names_every_level_and_changes_no_loss() -> None:
    torch.manual_seed(0)
    net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
    pretext = Pretext(net, method=moco_v2.build(encoder=net, queue=8, hidden=6, dim=4))
    x = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    views = Views(x, x[0], x[0] > 0, torch.arange(4), torch.arange(4))
    plain = pretext(views).main["discrimination"]
    before = set(pretext.diagnostics)
    pretext.surveys = True
    assert torch.equal(pretext(views).main["discrimination"], plain)
    new = {"rank_level0", "rank_level1", "between_level0", "between_level1", "weight_norm"}
    assert set(pretext.diagnostics) == before | new
