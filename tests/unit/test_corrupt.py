"""Corruptions: the release's figures, masks that tell the truth, and nothing changed outside them."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.transforms import (
    RandCutoutd,
    RandInpaintd,
    RandLocalShuffled,
    RandMaskBlocksd,
    RandOutpaintd,
    RandPatchSwapd,
)
from medssl.transforms.boxes import MARGIN, draw_box, nearest, within
from medssl.transforms.corruption import dira, genesis, transvw
from medssl.transforms.named import corruption
from medssl.types import InputError

SINGLE = [
    RandCutoutd(),
    RandInpaintd(),
    RandOutpaintd(),
    RandPatchSwapd(),
    RandLocalShuffled(),
    RandMaskBlocksd(block=4),
]


def mixtures(n: int) -> list:
    return [corruption({"kind": kind}, n) for kind in ("dira", "transvw", "genesis", "mask")]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", [(1, 16, 20, 18), (3, 40, 36), (1, 1, 24, 24), (1, 3, 2, 4)])
def test_what_is_not_marked_is_untouched_and_draws_replay(shape) -> None:
    x = rng().random(shape, dtype=np.float32)
    kept = x.copy()
    for transform in [*SINGLE, *mixtures(len(shape) - 1)]:
        for seed in range(4):
            params = transform.draw(rng(seed), shape)
            y, mask = transform.apply(x, params), transform.mask(shape, params)
            assert mask.shape == (1, *shape[1:])
            assert mask.dtype == bool
            same = np.broadcast_to(~mask, shape)
            np.testing.assert_array_equal(y[same], x[same])
            np.testing.assert_array_equal(y, transform.apply(x, params))
            assert 0 <= y.min()
            assert y.max() <= 1
    np.testing.assert_array_equal(x, kept)


def test_dira_buckets_and_counts_are_the_release_ones() -> None:
    mixture, shape = dira.build(spatial_dims=2), (1, 224, 224)
    drawn = [mixture.draw(rng(s), shape) for s in range(3000)]
    choices = np.array([-1 if d is None else d["choice"] for d in drawn])
    for choice, share in ((0, 0.30), (1, 0.05), (2, 0.30), (-1, 0.35)):
        assert (choices == choice).mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 3000))
    for d in drawn:
        if d is None:
            continue
        boxes = d["params"]["boxes"]
        if d["choice"] == 2:
            assert len(boxes) == 10
            boxes = [b for pair in boxes for b in pair]
        low, high = ((10, 70), (154, 174), (10, 15))[d["choice"]]
        for y, x, h, w in boxes:
            assert low <= h <= high
            assert low <= w <= high
            assert 3 <= y <= 224 - h - 3
            assert 3 <= x <= 224 - w - 3


def test_dira_erases_as_much_as_the_release() -> None:
    inner, outer = RandCutoutd(), RandOutpaintd(blocks=10, side=(154 / 224, 174 / 224), fill=0.0, margin=MARGIN)
    shape = (1, 224, 224)
    for transform, expected in ((inner, 0.1759), (outer, 0.2319)):
        drawn = [transform.draw(rng(s), shape) for s in range(1600)]
        erased = [transform.mask(shape, d).mean() for d in drawn]
        assert np.mean(erased) == pytest.approx(expected, abs=4 * np.std(erased) / 40)
        counts = [len(d["boxes"]) for d in drawn]
        assert np.mean(counts) == pytest.approx((1 - 0.9**10) / 0.1, abs=4 * np.std(counts) / 40)


def test_every_side_length_of_the_release_can_be_drawn() -> None:
    sides = [draw_box(rng(s), (224, 224), nearest((224, 224), (10 / 224, 15 / 224)))[2] for s in range(600)]
    assert np.unique(sides).tolist() == [10, 11, 12, 13, 14, 15]


def test_dira_in_3d_erases_nearly_the_share_it_erases_in_2d() -> None:
    shape, cut = (1, 96, 96, 96), dira.build(spatial_dims=3).choices[0]
    erased = [cut.mask(shape, cut.draw(rng(s), shape)).mean() for s in range(150)]
    assert np.mean(erased) == pytest.approx(0.14, abs=0.025)


def test_cutout_fills_with_the_value_and_outpaint_keeps_the_window() -> None:
    x = np.full((1, 30, 30), 0.5, np.float32)
    params = {"boxes": [[2, 3, 4, 5]], "seed": 1}
    cut = RandCutoutd(fill=0.0).apply(x, params)
    assert (cut[0, 2:6, 3:8] == 0).all()
    assert (cut == 0).sum() == 20
    out = RandOutpaintd().apply(x, params)
    assert (out == 0.5).sum() >= 20
    np.testing.assert_array_equal(out[0, 2:6, 3:8], 0.5)
    noise = RandInpaintd().apply(x, params)[0, 2:6, 3:8]
    assert len(np.unique(noise)) == 20


def test_patch_swap_reads_from_the_original() -> None:
    x = np.arange(100, dtype=np.float32).reshape(1, 10, 10) / 100
    a, b, c = [0, 0, 2, 2], [5, 5, 2, 2], [0, 6, 2, 2]
    y = RandPatchSwapd().apply(x, {"boxes": [[a, b], [a, c]]})
    np.testing.assert_array_equal(y[0, 5:7, 5:7], x[0, 0:2, 0:2])
    np.testing.assert_array_equal(y[0, 0:2, 6:8], x[0, 0:2, 0:2])  # the original, not what was just put there
    np.testing.assert_array_equal(y[0, 0:2, 0:2], x[0, 0:2, 6:8])


@pytest.mark.parametrize("shape", [(2, 20, 24), (2, 12, 20, 24)])
def test_local_shuffle_permutes_within_a_block_channels_together(shape) -> None:
    x = rng().random(shape, dtype=np.float32)
    x[1] = 1 - x[0]
    transform = RandLocalShuffled(blocks=1, side=0.5)
    for seed in range(10):
        params = transform.draw(rng(seed), shape)
        y, mask = transform.apply(x, params), transform.mask(shape, params)[0]
        np.testing.assert_array_equal(np.sort(y[0][mask]), np.sort(x[0][mask]))
        np.testing.assert_allclose(y[1], 1 - y[0])
    many = RandLocalShuffled(blocks=10_000)
    moved = many.apply(x, many.draw(rng(1), shape))
    assert (moved != x).mean() > 0.3
    assert set(np.unique(moved[0])) <= set(np.unique(x[0]))


def test_mask_blocks_erase_the_ratio_on_the_grid() -> None:
    transform = RandMaskBlocksd(block=8, ratio=0.75)
    params = transform.draw(rng(), (1, 32, 32, 32))
    mask = transform.mask((1, 32, 32, 32), params)
    assert mask.mean() == 0.75
    blocks = mask[0].reshape(4, 8, 4, 8, 4, 8).mean((1, 3, 5))
    assert set(np.unique(blocks)) == {0.0, 1.0}
    cut = transform.mask((1, 12, 9), {"blocks": [3]})  # a grid of 2 x 2, the last blocks 4 x 1
    assert np.argwhere(cut[0]).tolist() == [[i, 8] for i in range(8, 12)]


def test_transvw_takes_one_of_four_and_genesis_chains() -> None:
    four = transvw.build()
    choices = [four.draw(rng(s), (1, 12, 12, 12))["choice"] for s in range(2000)]
    np.testing.assert_allclose(np.bincount(choices) / 2000, 0.25, atol=0.04)
    chain = genesis.build()
    steps = np.array([[s is not None for s in chain.draw(rng(k), (1, 12, 12, 12))["steps"]] for k in range(2000)])
    np.testing.assert_allclose(steps.mean(0), [0.5, 0.9, 0.9], atol=0.045)
    painting = [chain.draw(rng(k), (1, 12, 12, 12))["steps"][2] for k in range(2000)]
    assert np.mean([p["choice"] == 0 for p in painting if p]) == pytest.approx(0.8, abs=0.04)


def test_impossible_settings_are_refused() -> None:
    for make, said in [
        (lambda: RandCutoutd(side=(10, 70)), r"RandCutoutd: side is \(10, 70\), give two numbers from 0 to 1"),
        (lambda: RandCutoutd(blocks=0), "blocks is 0"),
        (lambda: RandCutoutd(stop=2), "stop is 2"),
        (lambda: RandInpaintd(margin=-1), "margin is -1"),
        (lambda: RandInpaintd(fill="nois"), "fill is 'nois', give a value or 'noise'"),
        (lambda: RandOutpaintd(fill=None), "fill is None"),
        (lambda: RandMaskBlocksd(ratio=60), "ratio is 60, give a number from 0 to 1"),
        (lambda: RandMaskBlocksd(block=0), "block is 0"),
        (lambda: RandMaskBlocksd(fill="noise"), "fill is 'noise', give a value"),
        (lambda: RandPatchSwapd(swaps=-1), "swaps is -1"),
        (lambda: RandPatchSwapd(side=(0.5, 2)), "side is"),
        (lambda: RandLocalShuffled(blocks=0), "blocks is 0"),
        (lambda: RandLocalShuffled(blocks=-1), "blocks is -1"),
        (lambda: RandLocalShuffled(side=3), "side is 3"),
    ]:
        with pytest.raises(InputError, match=said):
            make()


@pytest.mark.parametrize("make", [RandCutoutd, RandMaskBlocksd, RandPatchSwapd, RandLocalShuffled])
def test_what_invents_no_values_takes_hu(make) -> None:
    x = rng().integers(-1000, 2000, (1, 20, 20)).astype(np.int16)
    y = make("x").set_random_state(0)({"x": x})["x"]
    assert set(np.unique(y)) <= {*np.unique(x), 0}
    assert (y != x).any()


@pytest.mark.parametrize("make", [RandCutoutd, RandOutpaintd, RandMaskBlocksd])
def test_a_fill_is_in_the_units_of_the_image(make) -> None:
    x = rng().random((1, 20, 20), dtype=np.float32)
    assert make("x", fill=-1000).set_random_state(0)({"x": x * 3000 - 1000})["x"].min() == -1000
    for fill in (7, -0.5):
        with pytest.raises(InputError, match=f"x is in 0..1, but fill is {fill}"):
            make("x", fill=fill)({"x": x})
    with pytest.raises(InputError, match=r"scale it to 0\.\.1"):
        RandCutoutd("x", fill="noise")({"x": x * 3000 - 1000})


def test_the_noise_of_each_block_of_a_draw_is_its_own() -> None:
    blocks = 4
    erase = RandCutoutd(blocks=blocks, stop=0.0, fill="noise", side=(0.2, 0.2))
    boxes = [erase.draw(np.random.default_rng(0), (1, 100, 100))["boxes"][0]]
    noise = erase.apply(np.zeros((1, 100, 100), np.float32), {"boxes": boxes * blocks, "seed": 1000})
    last = noise[within(boxes[0])]
    for count in range(1, blocks):
        other = erase.apply(np.zeros((1, 100, 100), np.float32), {"boxes": boxes * count, "seed": 1000})
        assert not np.isin(other[within(boxes[0])], last).any()
