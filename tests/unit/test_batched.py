"""The batched backend gives what the transforms themselves give, for the same draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl import view_dataset, views
from medssl.crop import random
from medssl.data.cache import Case
from medssl.transforms import (
    RandBezierIntensityd,
    RandBiasFieldd,
    RandBlurNoised,
    RandColorJitterd,
    RandCutoutd,
    RandGammad,
    RandHistogramShiftd,
    RandInpaintd,
    RandLocalShuffled,
    RandMaskBlocksd,
    RandOutpaintd,
    RandPatchSwapd,
    RandRemapd,
    RandStainJitterd,
    RandStainMatchd,
    RandWindowJitterd,
)
from medssl.transforms.base import RandTransform
from medssl.transforms.modality import PRESETS
from medssl.transforms.named import corruption
from medssl.types import InputError, Window

GRAY = [
    RandGammad(prob=0.7),
    RandBezierIntensityd(invert=0.5),
    RandHistogramShiftd(),
    RandWindowJitterd(),
    RandBiasFieldd(),
    RandColorJitterd(),
    RandBlurNoised(sigma=(0.3, 1.5)),
    RandCutoutd(),
    RandCutoutd(fill="noise"),
    RandInpaintd(),
    RandOutpaintd(),
    RandOutpaintd(fill=0.25, blocks=4),
    RandPatchSwapd(),
    RandMaskBlocksd(block=4),
    RandRemapd(),
]
COLOUR = [RandStainJitterd(sigma=0.1)]
WITHOUT_TWIN = [RandLocalShuffled(), RandStainMatchd(), RandStainJitterd(stains="macenko")]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gap(transform, x: np.ndarray) -> float:
    """Largest difference between both backends over a batch, each sample with its own draw."""
    drawn = [transform.draw(rng(seed), x.shape[1:]) for seed in range(len(x))]
    expected = np.stack([transform.apply(image, params) for image, params in zip(x, drawn, strict=True)])
    given = torch.from_numpy(x.copy())
    made = transform.apply_batch(given, drawn).numpy()
    np.testing.assert_array_equal(given.numpy(), x)
    return float(np.abs(made - expected).max())


@pytest.mark.parametrize("shape", [(6, 2, 13, 17, 15), (6, 1, 1, 12, 12), (6, 3, 20, 17)])
@pytest.mark.parametrize("transform", GRAY, ids=lambda t: type(t).__name__)
def test_same_draws_give_the_same_images(transform, shape) -> None:
    assert gap(transform, rng(1).random(shape, dtype=np.float32)) < 1e-4


@pytest.mark.parametrize("transform", COLOUR + WITHOUT_TWIN, ids=lambda t: type(t).__name__)
def test_same_draws_give_the_same_tiles(transform) -> None:
    assert gap(transform, rng(1).random((5, 3, 40, 36), dtype=np.float32) * 0.8 + 0.1) < 1e-4


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("kind", ["dira", "transvw", "genesis"])
def test_mixtures_give_the_same(kind, n) -> None:
    assert gap(corruption({"kind": kind}, n), rng(2).random((12, 1, *(24,) * n), dtype=np.float32)) < 1e-4


class Darker(RandGammad):
    """A gamma that also halves: another change than its parent's."""

    def change(self, x, params):
        return super().change(x, params) / 2


class Brighter(RandGammad):
    """A gamma of other exponents: the same change as its parent's."""

    def parameters(self, rng, shape):
        return {"gamma": float(rng.uniform(0.2, 0.4))}


@pytest.mark.parametrize("transform", [Darker(), Brighter()], ids=lambda t: type(t).__name__)
def test_a_subclass_changes_batches_as_it_changes_images(transform) -> None:
    assert gap(transform, rng(1).random((4, 1, 9, 9), dtype=np.float32)) < 1e-4


def test_a_subclass_takes_over_batches_only_with_the_change_that_they_make() -> None:
    assert Brighter.change_batch is RandGammad.change_batch
    assert Darker.change_batch is RandTransform.change_batch


class Recorded(RandTransform):
    """A transform that counts how often it is applied on the CPU."""

    count = 0

    def change(self, x, params):
        self.count += 1
        return x


def test_what_knows_no_batches_is_applied_to_the_drawn_samples_alone() -> None:
    recorded = Recorded()
    recorded.apply_batch(torch.rand(4, 1, 8, 8), [None, {"a": 1}, None, {"a": 2}])
    assert recorded.count == 2


def case(array, values) -> Case:
    shape = array.shape[1:]
    spacing = (2.0, 1.0, 1.0)[-len(shape) :]
    return Case(
        "XX-1", shape, spacing, len(array), "OT", "ct", "p", "", (), False, values, Window((0,) * len(shape), shape)
    )


def both(array, values, **arguments):
    """The batch made by workers, and the batch made on the device."""
    n = array.ndim - 1
    size = [[20] * n, [8] * n]
    maker = views.build(spatial_dims=n, size=size, device="cuda", **arguments)
    samples, drafts = [], []
    for seed in range(4):
        given = array, case(array, values), 0, random.build()
        samples.append(view_dataset.Sample(maker(*given, rng(seed)), seed, 0))
        drafts.append(view_dataset.Sample((), seed, 0, maker.drafts(*given, rng(seed))))
    cpu = torch.device("cpu")
    return maker.finish(view_dataset.collate(samples), cpu), maker.finish(view_dataset.collate(drafts), cpu)


def smooth(*shape: int) -> np.ndarray:
    """An image of waves, since noise would show how positions are rounded."""
    where = np.stack(np.indices(shape[1:])).astype(float)
    waves = [np.sin(where[i % len(where)] / (3 + i) + where.sum(0) / 7 + c) for i in range(3) for c in range(shape[0])]
    return np.stack([np.mean(waves[c :: shape[0]], 0) for c in range(shape[0])])


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("shape", [(1, 50, 60), (1, 26, 44, 40), (3, 60, 50)])
def test_the_device_makes_the_views_that_workers_make(preset, faithful, shape) -> None:
    if (preset == "pathology") != (shape[0] == 3):
        return
    stored = (smooth(*shape) * 100 + 128).astype(np.uint8 if shape[0] == 3 else np.int16)
    worker, device = both(stored, ((0.0, 255.0),) * shape[0], preset=preset, faithful=faithful)
    assert (worker.corrupted is None) == faithful
    seen = [[*made.x, made.target, *([] if faithful else [made.corrupted])] for made in (worker, device)]
    for a, b in zip(*seen, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)
    for a, b in zip(worker[2:5], device[2:5], strict=True):
        assert torch.equal(a, b)


def test_a_constant_image_and_values_out_of_range_are_the_same() -> None:
    worker, device = both(np.full((1, 30, 30), 7, np.int16), ((7.0, 7.0),), intensity=[], corrupt=None)
    assert torch.equal(worker.target, device.target)
    assert not device.target.any()
    worker, device = both((smooth(1, 40, 40) * 30000).astype(np.int16), ((-1000.0, 1000.0),), intensity=[])
    torch.testing.assert_close(worker.target, device.target, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float16, np.float32, np.float64])
def test_every_stored_type_is_averaged_by_both_alike(dtype) -> None:
    stored = (smooth(1, 26, 44, 40) * 100 + 128).astype(dtype)
    worker, device = both(stored, ((0.0, 255.0),), preset="mr")  # the second view has 8 voxels a side
    for a, b in zip(worker.x, device.x, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite"), (3e38, "infinite or beyond")]
)
def test_both_refuse_the_same_values_by_the_same_name(value, said) -> None:
    for at in [(15, 15), (0, 0), (29, 11)]:
        array = np.zeros((1, 30, 30), np.float32)
        array[(0, *at)] = value
        maker, refusals = views.build(spatial_dims=2, size=[24, 24], device="cuda"), set()
        for seed in range(6):
            outcomes = []
            for make in (maker, maker.drafts):
                try:
                    make(array, case(array, ((0.0, 1.0),)), 0, random.build(), rng(seed))
                    outcomes.append("")
                except InputError as error:
                    outcomes.append(str(error))
            assert outcomes[0] == outcomes[1]
            refusals.add(outcomes[0])
        assert any(f"case XX-1 holds values that are {said}" in refusal for refusal in refusals), at


def test_large_numbers_that_can_be_interpolated_are_no_nan() -> None:
    worker, device = both((smooth(1, 40, 40) * 3e20).astype(np.float32), ((-3e20, 3e20),), intensity=[], corrupt=None)
    torch.testing.assert_close(worker.target, device.target, atol=1e-3, rtol=0)


@pytest.mark.parametrize("faithful", [False, True])
def test_a_moved_window_shows_the_same_beyond_the_prepared_one(faithful) -> None:
    stored = (smooth(1, 26, 44, 40) * 1000).astype(np.int16)
    worker, device = both(stored, ((-160.0, 240.0),), preset="ct", faithful=faithful)
    for a, b in zip([*worker.x, worker.target], [*device.x, device.target], strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


def test_workers_that_only_read_refuse_nan_too() -> None:
    array = np.full((1, 30, 30), np.nan, np.float32)
    maker = views.build(spatial_dims=2, size=[8, 8], device="cuda")
    with pytest.raises(InputError, match="case XX-1 holds values that are NaN"):
        maker.drafts(array, case(array, ((0.0, 1.0),)), 0, random.build(), rng())
