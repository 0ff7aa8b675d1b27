"""MoCo-v2 against an independent numpy queue (He et al. 2020, algorithm 1)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medssl.methods import keys, moco_v2
from medssl.types import Views


class Through(nn.Module):
    channels = (3,)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x,)


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    x = rng.standard_normal((rows, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(("size", "batch"), [(8, 4), (10, 4), (3, 4)])
def test_queue_and_loss_over_20_steps(size: int, batch: int) -> None:
    rng = np.random.default_rng(0)
    start = unit(rng, size)
    key_encoder = keys.EMAEncoder(Through(), nn.Identity(), 0.999, False, 0)
    module = moco_v2.MoCoV2(nn.Identity(), key_encoder, torch.tensor(start), 0.2, False, "none")
    queue = [start[i] for i in range(size)]  # oldest first
    for step in range(20):
        q, k = unit(rng, batch), unit(rng, batch)
        expected = 0.0
        for i in range(batch):
            positive = np.exp(q[i] @ k[i] / 0.2)
            negative = sum(np.exp(q[i] @ n / 0.2) for n in queue)
            expected -= np.log(positive / (positive + negative)) / batch
        x = tuple(torch.tensor(e)[:, :, None, None] for e in (q, k))
        ids = torch.arange(batch)
        found = module(Views(x, x[0], x[0] > 0, ids, ids), lambda v, x=x: (x[v],))
        assert found.main["discrimination"].item() == pytest.approx(expected, abs=1e-10)
        assert not found.adversaries
        module.after_step(Through())
        queue = [*queue, *k][-size:]
        assert int(module.pointer) == (step + 1) * batch % size
        rows = [(int(module.pointer) + i) % size for i in range(size)]
        np.testing.assert_allclose(module.queue[rows].numpy(), queue, atol=1e-12)


def test_keys_lag_by_one_step_as_published() -> None:
    """The release averages before the key forward; averaging after the step gives the next forward the same keys."""
    torch.manual_seed(0)
    net, head = nn.Linear(3, 3).double(), nn.Identity()
    average = keys.EMAEncoder(net, head, 0.9, False, 0)
    theta_k = net.weight.detach().clone()
    for _ in range(4):
        theta_k = 0.9 * theta_k + 0.1 * net.weight.detach()  # before the key forward of this step
        torch.testing.assert_close(average.encoder.weight, nn.Parameter(theta_k, requires_grad=False))
        nn.init.normal_(net.weight)  # the optimizer's step
        average.ema_update(net, head)
