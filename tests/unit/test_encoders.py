from __future__ import annotations

import pytest
import torch
from torch import nn

from medssl.models import norm, sizes
from medssl.models.encoder import tiny
from medssl.types import InputError


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_tiny_features_have_the_stated_channels_and_strides(spatial_dims: int) -> None:
    encoder = tiny.build(spatial_dims=spatial_dims, in_channels=2)
    features = encoder(torch.rand(2, 2, *[32] * spatial_dims))
    shapes = [tuple(f.shape) for f in features]
    assert shapes == [(2, c, *[32 // s] * spatial_dims) for c, s in zip(encoder.channels, encoder.strides, strict=True)]


def test_tiny_rounds_up_sizes_its_stem_divides() -> None:
    features = tiny.build(spatial_dims=3, in_channels=1)(torch.rand(1, 1, 40, 56, 36))
    assert [tuple(f.shape[2:]) for f in features] == [(20, 28, 18), (10, 14, 9), (5, 7, 5), (3, 4, 3)]


def test_tiny_sees_every_voxel() -> None:
    x = torch.rand(1, 1, 8, 8, 8, requires_grad=True)
    tiny.build(spatial_dims=3, in_channels=1)(x)[0].square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


def test_tiny_refuses_odd_sizes_naming_both_and_the_nearest() -> None:
    with pytest.raises(InputError, match=r"\[33, 32, 32\].*\[2, 2, 2\].*\[32, 32, 32\] or \[34, 32, 32\]"):
        tiny.build(spatial_dims=3, in_channels=1)(torch.rand(1, 1, 33, 32, 32))


def test_check_names_the_nearest_sizes_per_axis() -> None:
    sizes.check((64, 96), 32)
    sizes.check((64, 96, 8), (32, 32, 8))
    with pytest.raises(InputError, match=r"view size \[100, 96\].*\[32, 32\]: use \[96, 96\] or \[128, 96\]"):
        sizes.check((100, 96), 32)
    with pytest.raises(InputError, match=r"use \[32, 32\]$"):  # nothing below fits
        sizes.check((20, 20), 32)
    with pytest.raises(InputError, match="3 axes but the encoder has 2"):
        sizes.check((32, 32, 32), (32, 32))


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("batch", nn.BatchNorm3d),
        ("sync_batch", norm.SyncBatchNorm),
        ("instance", nn.InstanceNorm3d),
        ("group", nn.GroupNorm),
    ],
)
def test_norm_by_recipe_reaches_every_block(kind: norm.NormKind, layer: type[nn.Module]) -> None:
    encoder = tiny.build(spatial_dims=3, in_channels=1, norm=kind)
    found = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._NormBase | nn.GroupNorm)]
    assert len(found) == 8
    assert all(isinstance(m, layer) for m in found)
    assert all(m.weight is not None for m in found)


def test_group_norm_has_at_most_32_groups_of_at_least_2_channels() -> None:
    groups = {c: norm.build("group", 2, c).num_groups for c in (5, 16, 64, 320, 2048)}
    assert groups == {5: 1, 16: 8, 64: 32, 320: 32, 2048: 32}


def test_sync_batch_norm_on_one_rank_is_batch_norm() -> None:
    x = torch.rand(4, 3, 5, 5)
    ours, theirs = norm.build("sync_batch", 2, 3), nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.running_var.tolist() == theirs.running_var.tolist()
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_sync_batch_norm_of_two_halves_is_batch_norm_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ranks in one process: the second pass of each rank is given what the other contributed in the first."""
    x = torch.randn(8, 3, 5, 5, dtype=torch.float64) * torch.tensor([1.0, 2, 3], dtype=torch.float64).view(1, 3, 1, 1)
    halves, expected = x.chunk(2), nn.BatchNorm2d(3).double()
    whole = expected(x)
    means = torch.stack([h.mean((0, 2, 3)) for h in halves])
    squares = torch.stack([(h - means.mean(0).view(1, 3, 1, 1)).square().mean((0, 2, 3)) for h in halves])
    for rank, half in enumerate(halves):
        answers = iter([means, squares])
        monkeypatch.setattr(norm.ranks, "world", lambda: 2)
        monkeypatch.setattr(norm.ranks, "gather_grad", lambda _, answers=answers: next(answers))
        layer = norm.build("sync_batch", 2, 3).double()
        torch.testing.assert_close(layer(half), whole.chunk(2)[rank], rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.running_var, expected.running_var, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.running_mean, expected.running_mean, rtol=0, atol=1e-12)
