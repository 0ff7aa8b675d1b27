from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.testing import assert_close

from medssl import losses


def tensor(*values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def near(found: torch.Tensor, expected: object) -> None:
    assert_close(found.detach(), torch.as_tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


Q = tensor((1.0, 0.0))
OWN = tensor((1.0, 0.0))


def test_info_nce_of_the_hand_case_and_its_gradient_into_the_query() -> None:
    negatives = tensor((0.0, 1.0), (-1.0, 0.0), (0.6, 0.8))
    q = Q.clone().requires_grad_()
    loss = losses.info_nce(q, OWN, negatives, 0.5)
    near(loss, 0.471864)
    near(torch.autograd.grad(loss, q)[0][0], (-0.438805, 0.617348))
    probabilities = torch.softmax(losses.cosines(Q, OWN, negatives) / 0.5, 1)[0]
    near(probabilities, (0.623838, 0.084427, 0.011426, 0.280309))
    near(probabilities.sum(), 1.0)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.712067), (0.5, 0.460373)])
def test_info_nce_against_two_learned_negatives(temperature: float, expected: float) -> None:
    near(losses.info_nce(Q, OWN, tensor((0.0, 1.0), (0.6, 0.8)), temperature), expected)


@pytest.mark.parametrize(
    ("others", "expected"),
    [(255 + 65536, 11.094254), (255 + 16384, 9.719565), (255 + 8192, 9.041685), (65536, 11.090370)],
)
def test_uniform_logits_cost_the_log_of_the_number_of_candidates(others: int, expected: float) -> None:
    near(losses.info_nce(Q, OWN, Q.expand(others, 2), 0.12), expected)
    assert log(1 + others) == pytest.approx(expected, abs=1e-5)


def test_a_masked_negative_is_as_good_as_absent() -> None:
    negatives = tensor((0.0, 1.0), (0.6, 0.8))
    q = Q.clone().requires_grad_()
    masked = losses.info_nce(q, OWN, negatives, 0.5, torch.tensor([[False, True]]))
    assert_close(masked, losses.info_nce(q, OWN, negatives[:1], 0.5))
    assert torch.isfinite(torch.autograd.grad(masked, q)[0]).all()


def test_logits_are_float32_under_autocast_and_float64_stays() -> None:
    q, n = (torch.nn.functional.normalize(torch.randn(rows, 8), dim=1) for rows in (4, 9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = losses.info_nce(q, q, n, 0.02)
    assert_close(inside, losses.info_nce(q, q, n, 0.02), atol=0, rtol=0)
    assert losses.info_nce(q.bfloat16(), q.bfloat16(), n, 0.02).dtype == torch.float32
    assert losses.info_nce(q.double(), q.double(), n.double(), 0.02).dtype == torch.float64


def test_barlow_twins_hand_case() -> None:
    z = tensor((1.0, 0.0), (-1.0, 0.5), (0.0, -0.5))
    near(losses.cross_correlation(z, z), ((1.0, -0.5), (-0.5, 1.0)))
    near(losses.barlow_twins(z, z), 0.00255)
    near(losses.barlow_twins(z, z, off_diagonal=1.0), 0.5)


def test_barlow_twins_survives_a_dead_dimension() -> None:
    z = torch.cat([torch.randn(6, 2, dtype=torch.float64), torch.ones(6, 1, dtype=torch.float64)], 1).requires_grad_()
    loss = losses.barlow_twins(z, z)
    loss.backward()
    assert torch.isfinite(loss)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_negative_cosine_is_minus_one_for_equals_zero_for_orthogonals_and_stops_at_z() -> None:
    p, z = tensor((3.0, 4.0)).requires_grad_(), tensor((6.0, 8.0)).requires_grad_()
    near(losses.negative_cosine(p, z), -1.0)
    near(losses.negative_cosine(tensor((1.0, 0.0)), tensor((0.0, 2.0))), 0.0)
    losses.negative_cosine(p, z).backward()
    assert z.grad is None


def test_least_squares_game_at_its_balance_and_with_a_perfect_discriminator() -> None:
    half, one, zero = torch.full((2, 1, 3, 3), 0.5), torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)
    near(losses.discriminator(half, half).double(), 0.25)
    near(losses.generator(half).double(), 0.25)
    near(1e-3 * losses.generator(half).double(), 0.00025)
    near(losses.discriminator(one, zero).double(), 0.0)
    near(losses.generator(zero).double(), 1.0)


def test_hinge_game() -> None:
    real, fake = tensor(0.25, 2.0), tensor(-3.0, 0.5)
    near(losses.discriminator(real, fake, "hinge"), 0.75 / 2 + 1.5 / 2)
    near(losses.generator(fake, "hinge"), 1.25)


@pytest.mark.parametrize(("kind", "expected"), [("mse", 0.25), ("l1", 0.5)])
def test_restoration_of_a_gray_image_against_black(kind: losses.RestorationKind, expected: float) -> None:
    near(losses.restoration(torch.full((2, 1, 4, 4), 0.5), torch.zeros(2, 1, 4, 4), kind).double(), expected)


@pytest.mark.parametrize("kind", ["mse", "l1", "ssim"])
@pytest.mark.parametrize("size", [(9, 12), (5, 9, 6)])
def test_restoration_of_the_target_itself_costs_nothing(kind: losses.RestorationKind, size: tuple[int, ...]) -> None:
    target = torch.rand(2, 2, *size, dtype=torch.float64)
    near(losses.restoration(target, target, kind), 0.0)


def test_masked_restoration_averages_each_sample_over_its_own_mask() -> None:
    x, target = torch.zeros(3, 2, 2, 2, dtype=torch.float64), torch.zeros(3, 2, 2, 2, dtype=torch.float64)
    x[0, :, 0, 0], x[0, :, 1, 1] = 1.0, 9.0  # the 9 lies outside the mask
    x[1, :, :, :] = 2.0
    mask = torch.zeros(3, 1, 2, 2, dtype=torch.bool)
    mask[0, 0, 0, :] = mask[1, 0, 1, 1] = True  # sample 2 has no mask
    near(losses.restoration(x, target, "mse", mask), (0.5 + 4.0 + 0.0) / 3)
    everything = torch.ones_like(mask)
    assert_close(losses.restoration(x, target, "l1", everything), losses.restoration(x, target, "l1"))


@pytest.mark.parametrize("size", [(16, 18), (12, 13, 14)])
def test_ssim_agrees_with_scikit_image_away_from_borders(size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a = rng.random(size)
    b = np.clip(a + 0.2 * rng.standard_normal(size), 0, 1)
    _, expected = structural_similarity(a, b, data_range=1.0, full=True, use_sample_covariance=False)
    found = losses.ssim(torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None])[0, 0].numpy()
    inside = (slice(3, -3),) * len(size)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-10)


def test_mixed_restoration_is_084_ssim_and_016_l1() -> None:
    a, b = torch.rand(1, 1, 12, 12, dtype=torch.float64), torch.rand(1, 1, 12, 12, dtype=torch.float64)
    expected = 0.84 * (1 - losses.ssim(a, b).mean()) + 0.16 * (a - b).abs().mean()
    assert_close(losses.restoration(a, b, "ssim"), expected)
