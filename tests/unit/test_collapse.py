from __future__ import annotations

import math

import torch

from medssl.engine.collapse import CollapseWatch, NegativesWatch, patience
from medssl.methods.base import collapse_metrics


def record(cosine, batch=16, dim=64):
    """What a method logs of unit vectors whose mean cosine is about `cosine`."""
    generator = torch.Generator().manual_seed(0)
    common = torch.nn.functional.normalize(torch.randn(dim, generator=generator), dim=0)
    own = torch.nn.functional.normalize(torch.randn(batch, dim, generator=generator), dim=1)
    z = math.sqrt(cosine) * common + math.sqrt(1 - cosine) * own
    return {f"metric.{name}": value.item() for name, value in collapse_metrics(z).items()}


def warnings(records, dim=64):
    watch = CollapseWatch(dim, patience=3)
    return [watch.see(one) for one in records]


def test_a_healthy_run_hears_nothing():
    assert warnings([record(0.1), record(0.9), record(0.99)] * 5) == [None] * 15


def test_a_collapsed_run_is_told_once_in_plain_words():
    told = warnings([record(0.5)] + [record(0.9999)] * 10)
    assert [i for i, text in enumerate(told) if text] == [3]
    assert "have become nearly the same" in told[3]
    assert "healthy 1.2e-01" in told[3]


def test_a_short_dip_is_no_collapse_and_a_second_collapse_is_told_again():
    ill, well = record(0.9999), record(0.5)
    assert warnings([ill, ill, well, ill, ill, well]) == [None] * 6
    assert sum(bool(text) for text in warnings([ill] * 4 + [well] + [ill] * 4)) == 2


def test_without_contrast_there_is_nothing_to_watch():
    assert warnings([{"loss.restoration": 0.1}] * 9, dim=None) == [None] * 9


def test_the_rank_alone_tells_when_the_size_of_the_embedding_is_unknown():
    assert warnings([record(0.99999)] * 3, dim=None)[2] is not None


def test_patience_is_a_tenth_of_a_long_run_and_at_most_half_of_a_short_one():
    assert [patience(steps) for steps in (2, 10, 30, 150, 1000)] == [3, 5, 15, 20, 100]


def test_a_count_that_is_carried_over_warns_at_the_same_step():
    first, second = CollapseWatch(64, patience=3), CollapseWatch(64, patience=3)
    assert [first.see(record(0.9999)) for _ in range(2)] == [None, None]
    second.strikes = first.strikes
    assert second.see(record(0.9999)) is not None


def test_negatives_that_are_nearly_all_masked_are_told_in_plain_words():
    watch = NegativesWatch(patience=2)
    shares = [0.9, 0.95, 1.0, 1.0, 0.2]
    told = [watch.see({"metric.masked": share}) for share in shares]
    assert [i for i, text in enumerate(told) if text] == [2]
    assert "100% of the negatives are masked" in told[2]
    assert "method.exclude=sample" in told[2]
