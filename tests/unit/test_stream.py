from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.engine.stream import BatchStream, permutation


def stream(**keys):
    return list(BatchStream(**{"samples": 7, "batch": 4, "seed": 3, "start": 0, "stop": 14, **keys}))


def test_every_epoch_sees_every_sample_once_although_batches_straddle_epochs():
    seen = list(itertools.chain(*stream()))
    assert len(seen) == 56
    for epoch in range(8):
        assert sorted(index for e, index in seen if e == epoch) == list(range(7))


@given(
    samples=st.integers(1, 9),
    block=st.integers(1, 3),
    world=st.integers(1, 4),
    cut=st.integers(0, 6),
    seed=st.integers(0, 2**32),
)
def test_ranks_concatenated_are_one_process_and_a_late_start_is_a_suffix(samples, block, world, cut, seed):
    keys = {"samples": samples, "batch": block * world, "seed": seed, "stop": 6}
    whole = stream(**keys)
    ranks = [stream(**keys, rank=rank, world=world) for rank in range(world)]
    assert [list(itertools.chain(*parts)) for parts in zip(*ranks, strict=True)] == whole
    assert stream(**keys, start=cut) == whole[cut:]


@given(batch=st.integers(1, 6), parts=st.integers(1, 4), step=st.integers(0, 5))
def test_accumulated_parts_are_the_batch_of_one_step(batch, parts, step):
    one = stream(batch=batch * parts, start=step, stop=step + 1)
    several = stream(batch=batch, start=step * parts, stop=(step + 1) * parts)
    assert list(itertools.chain(*several)) == one[0]


def test_orders_differ_by_epoch_and_seed():
    orders = {tuple(permutation(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_length_and_uneven_ranks():
    assert len(BatchStream(samples=7, batch=4, seed=0, start=3, stop=9)) == 6
    with pytest.raises(ValueError, match="5 cannot be divided over 2"):
        BatchStream(samples=7, batch=5, seed=0, start=0, stop=1, world=2)
