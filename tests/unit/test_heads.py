from __future__ import annotations

import torch
from torch import nn

from medssl.models import heads


def test_projection_of_moco_is_linear_relu_linear() -> None:
    assert [type(m) for m in heads.projection(8, 8, 4)] == [nn.Linear, nn.ReLU, nn.Linear]


def test_projection_of_simsiam_ends_in_a_norm_without_scale() -> None:
    head = heads.projection(8, 16, 16, layers=3, norm="batch", last_norm=True, last_affine=False)
    norms = [m for m in head if isinstance(m, nn.BatchNorm1d)]
    assert [m.affine for m in norms] == [True, True, False]
    assert all(m.bias is None for m in head if isinstance(m, nn.Linear))
    z = head(torch.randn(64, 8))
    torch.testing.assert_close(z.mean(0), torch.zeros(16), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.var(0, unbiased=False), torch.ones(16), atol=1e-2, rtol=0)


def test_projection_norms_stand_between_the_layers_only() -> None:
    head = heads.projection(8, 16, 4, layers=2, norm="batch")
    assert [type(m) for m in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert head[0].bias is None
    assert head[3].bias is not None


def test_restoration_of_zeros_is_one_half() -> None:
    head = heads.RestorationHead(3, 4, 2)
    assert (head(torch.zeros(1, 4, 6, 6, 6)) == 0.5).all()
    assert head(torch.zeros(1, 4, 6, 6, 6)).shape == (1, 2, 6, 6, 6)


def test_segmentation_head_looks_at_one_voxel() -> None:
    head = heads.SegmentationHead(2, 4, 3)
    x = torch.zeros(1, 4, 8, 8)
    still = head(x)
    x[..., 3, 5] = 1
    changed = (head(x) != still).any(1)[0].nonzero().tolist()
    assert changed == [[3, 5]]


def test_classification_is_the_linear_of_the_mean_of_the_deepest_level() -> None:
    torch.manual_seed(0)
    head = heads.ClassificationHead((8, 512), 64)
    deepest = torch.randn(2, 512, 3, 3)
    torch.testing.assert_close(head((torch.zeros(2, 8, 6, 6), deepest)), head.linear(deepest.mean((2, 3))))
    assert abs(head.linear.weight.std().item() - 0.01) < 4 * 0.01 / (2 * 512 * 64) ** 0.5
    assert head.linear.bias.tolist() == [0.0] * 64


def test_a_batch_norm_in_the_contrastive_head_spreads_what_barely_differs():
    """Features that differ by 1e-3 of their size land at nearly one point without it, and apart with it."""
    torch.manual_seed(0)
    features = torch.ones(16, 32) + 1e-3 * torch.randn(16, 32)
    spread = {}
    for norm in ("none", "batch"):
        z = torch.nn.functional.normalize(heads.contrastive(32, 64, 16, norm)(features), dim=1)
        spread[norm] = float(z.std(0).mean())
    assert spread["none"] < 0.002
    assert spread["batch"] > 0.1
