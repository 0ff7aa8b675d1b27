from __future__ import annotations

import pytest
import torch
from torch import nn

from medssl.branches import adversary
from medssl.models.discriminator import PatchDiscriminator
from medssl.types import InputError


def sizes(discriminator: PatchDiscriminator, x: torch.Tensor) -> list[tuple[int, ...]]:
    out = []
    for layer in discriminator:
        x = layer(x)
        if isinstance(layer, nn.modules.conv._ConvNd):
            out.append(tuple(x.shape[2:]))
    return out


def test_sizes_of_the_layers() -> None:
    flat, deep = PatchDiscriminator(2, 1, 8), PatchDiscriminator(3, 1, 4)
    assert sizes(flat, torch.rand(1, 1, 224, 224)) == [(n, n) for n in (112, 56, 28, 28, 28)]
    assert sizes(flat, torch.rand(1, 1, 33, 33)) == [(n, n) for n in (17, 9, 5, 5, 5)]
    assert deep(torch.rand(1, 1, 64, 64, 32)).shape == (1, 1, 8, 8, 4)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_receptive_field_is_47(spatial_dims: int) -> None:
    """Voxels 23 away from a patch's centre are seen, 24 away are not (norm off: with it every patch sees all)."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(spatial_dims, 1, 2, norm="none").double()
    x = torch.rand(1, 1, 104, *[17] * (spatial_dims - 1), dtype=torch.float64, requires_grad=True)
    patch = 6
    discriminator(x)[0, 0, patch].sum().backward()
    assert x.grad is not None
    seen = x.grad[0, 0].flatten(1).abs().sum(1).nonzero().flatten()
    assert (seen.min().item(), seen.max().item()) == (8 * patch - 23, 8 * patch + 23)


def test_instance_norm_carries_far_changes() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 1, 104, 17, requires_grad=True)
    PatchDiscriminator(2, 1, 4)(x)[0, 0, 6].sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0, 0].abs().sum() > 0


def test_groups_of_one_channel_are_instance_norm() -> None:
    torch.manual_seed(0)
    judge, x = PatchDiscriminator(3, 1, 4), torch.rand(2, 1, 24, 17, 32)
    layers = [nn.InstanceNorm3d(m.num_channels) if isinstance(m, nn.GroupNorm) else m for m in judge]
    assert sum(isinstance(layer, nn.InstanceNorm3d) for layer in layers) == 3
    torch.testing.assert_close(judge(x), nn.Sequential(*layers)(x), rtol=0, atol=1e-5)


def test_too_small_inputs_are_refused_unless_norm_is_group() -> None:
    with pytest.raises(InputError, match=r"above 8 voxels, not \[8, 8\]"):
        PatchDiscriminator(2, 1, 4)(torch.rand(1, 1, 8, 8))
    assert PatchDiscriminator(2, 1, 4, norm="group")(torch.rand(1, 1, 8, 8)).shape == (1, 1, 1, 1)
    assert PatchDiscriminator(2, 1, 4)(torch.rand(1, 1, 9, 8)).shape == (1, 1, 2, 1)


def test_weights_are_drawn_from_a_normal_of_002_and_norms_hold_no_parameters() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(2, 1, 32)
    convs = [m for m in discriminator if isinstance(m, nn.Conv2d)]
    weights = torch.cat([m.weight.flatten() for m in convs])
    assert abs(weights.std().item() - 0.02) < 4 * 0.02 / (2 * weights.numel()) ** 0.5
    assert len(list(discriminator.parameters())) == 10


def test_biases_that_an_instance_norm_takes_away_stay_as_they_are() -> None:
    """Their gradient is zero but for rounding, of which Adam would make full steps that differ between ranks."""
    torch.manual_seed(0)
    x = torch.rand(2, 1, 33, 33)
    free = PatchDiscriminator(2, 1, 8)
    for judge, still in ((free, {"2.bias", "5.bias", "8.bias"}), (PatchDiscriminator(2, 1, 8, norm="group"), set())):
        start = {name: p.detach().clone() for name, p in judge.named_parameters()}
        judge(x).square().mean().backward()
        assert {name for name, p in judge.named_parameters() if not p.grad.any()} == still
        torch.optim.Adam(judge.parameters(), 1e-3).step()
        assert {name for name, p in judge.named_parameters() if torch.equal(p, start[name])} == still
    free, x = free.double(), x.double()
    before = free(x)
    with torch.no_grad():
        for layer in (2, 5, 8):
            free[layer].bias.add_(1)
    torch.testing.assert_close(free(x), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("spatial_dims", "width", "weights"), [(2, 64, 1_554_433), (3, 32, 1_169_473)])
def test_in_3d_the_judge_of_a_recipe_keeps_its_size(spatial_dims: int, width: int, weights: int) -> None:
    judge = adversary.build(spatial_dims=spatial_dims, in_channels=1).discriminator
    assert judge[0].out_channels == width
    assert sum(p.numel() for p in judge.parameters()) == weights
