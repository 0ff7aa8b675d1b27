"""Barlow Twins against its equation 1 and 2 in scalar loops (Zbontar et al. 2021)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl import losses


def reference(a: np.ndarray, b: np.ndarray, off_diagonal: float) -> float:
    columns = a.shape[1]
    total = 0.0
    for i in range(columns):
        for j in range(columns):
            x, y = a[:, i] - a[:, i].mean(), b[:, j] - b[:, j].mean()
            c = sum(x * y) / np.sqrt(sum(x * x) * sum(y * y))
            total += (1 - c) ** 2 if i == j else off_diagonal * c**2
    return total


@pytest.mark.parametrize("off_diagonal", [0.0051, 0.5])
def test_loss_of_random_embeddings(off_diagonal: float) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((7, 5))
    b = a + 0.3 * rng.standard_normal((7, 5))
    found = losses.barlow_twins(torch.tensor(a), torch.tensor(b), off_diagonal)
    assert found.item() == pytest.approx(reference(a, b, off_diagonal), abs=1e-10)


def test_hand_case() -> None:
    z = np.array([[1.0, 0.0], [-1.0, 0.5], [0.0, -0.5]])
    assert reference(z, z, 0.0051) == pytest.approx(0.00255, abs=1e-9)
    assert losses.barlow_twins(torch.tensor(z), torch.tensor(z)).item() == pytest.approx(0.00255, abs=1e-5)


def test_scale_and_shift_of_a_dimension_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    a, b = torch.tensor(rng.standard_normal((6, 4))), torch.tensor(rng.standard_normal((6, 4)))
    moved = a * torch.tensor([1.0, 2.0, 0.1, 30.0]) + torch.tensor([0.0, 5.0, -1.0, 3.0])
    torch.testing.assert_close(losses.barlow_twins(moved, b), losses.barlow_twins(a, b))
