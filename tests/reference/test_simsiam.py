"""SimSiam against its equation 4 and the gradient that the stopped branch leaves (Chen and He 2021)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medssl import losses
from medssl.methods import simsiam
from medssl.types import Views


class Through(nn.Module):
    channels = (4,)


def reference(p: np.ndarray, z: np.ndarray) -> float:
    return -np.mean([a @ b / np.sqrt(a @ a) / np.sqrt(b @ b) for a, b in zip(p, z, strict=True)])


def test_negative_cosine_of_random_embeddings() -> None:
    rng = np.random.default_rng(0)
    p, z = rng.standard_normal((6, 4)), rng.standard_normal((6, 4))
    assert losses.negative_cosine(torch.tensor(p), torch.tensor(z)).item() == pytest.approx(reference(p, z), abs=1e-12)


def test_symmetric_loss_and_its_gradient() -> None:
    torch.manual_seed(0)
    module = simsiam.SimSiam(nn.Linear(4, 4).double(), nn.Linear(4, 4).double())
    x = tuple(torch.randn(5, 4, 1, 1, dtype=torch.float64) for _ in range(2))
    loss = module(Views(x, x[0], x[0] > 0, torch.arange(5), torch.arange(5)), lambda v: (x[v],)).main["discrimination"]
    z = [module.projector(v.flatten(1)) for v in x]
    p = [module.predictor(v) for v in z]
    arrays = [v.detach().numpy() for v in (*p, *z)]
    expected = (reference(arrays[0], arrays[3]) + reference(arrays[1], arrays[2])) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-12)

    # The same with z as constants: no gradient flows through them.
    constants = [torch.tensor(a) for a in arrays[2:]]
    cosine = nn.functional.cosine_similarity
    by_hand = -(cosine(p[0], constants[1]).mean() + cosine(p[1], constants[0]).mean()) / 2
    parameters = list(module.parameters())
    ours, theirs = (torch.autograd.grad(value, parameters) for value in (loss, by_hand))
    torch.testing.assert_close(ours, theirs)
