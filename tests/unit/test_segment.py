from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medssl.losses import soft_dice_loss
from medssl.models import windows
from medssl.models.decoder import unet
from medssl.models.encoder import tiny
from medssl.tasks import segment
from medssl.types import InputError


class Echo(nn.Module):
    """Logits that say class 1 where the image is bright: what is predicted is known."""

    def forward(self, x):
        return torch.cat([1 - x, x], dim=1) * 20


def dice_of(probability, truth, **options):
    both = [torch.stack([1 - t, t], dim=1) for t in (probability, truth)]
    return soft_dice_loss(*both, **options).item()


def test_soft_dice_hand_cases():
    """Smooth 1: nothing predicted of nothing -> 0; perfect -> 0; disjoint with sums a, b -> 1 - 1/(a + b + 1)."""
    empty, left, right = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    left[0, 0, :3], right[0, 2, :2] = 1, 1
    assert dice_of(empty, empty) == 0
    assert dice_of(left, left) == 0
    assert dice_of(left, right) == pytest.approx(1 - 1 / 6)


def test_soft_dice_pools_the_batch_or_not():
    truth, probability = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    truth[0, :2], probability[0, :2] = 1, 1  # perfect on the first, 2 false voxels on the second
    probability[1, 0, :2] = 1
    assert dice_of(probability, truth) == pytest.approx(1 - 17 / 19)
    assert dice_of(probability, truth, pooled="sample") == pytest.approx((0 + 1 - 1 / 3) / 2)


def test_loss_falls_to_zero_for_sure_and_right_logits():
    task = segment.build(spatial_dims=2, classes=2)
    label = torch.randint(0, 2, (2, 6, 6), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(label, 2).movedim(-1, 1).float() * 40
    losses = task.loss(logits, label)
    assert set(losses.main) == {"cross_entropy", "dice"}
    assert not losses.adversaries
    assert sum(losses.main.values()).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", [(10, 12), (40, 20)])
def test_windows_give_each_voxel_its_own_prediction(size):
    """Smaller than the window (padded) and larger (several windows): the known mask comes back in place."""
    task = segment.build(spatial_dims=2, classes=["lesion"])
    image = (torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    probability = task.predict(Echo(), image, (16, 16))
    assert probability.shape == (1, 2, *size)
    assert torch.equal(probability.argmax(1), image[:, 0].long())


@pytest.mark.parametrize("dims", [2, 3])
def test_model_gives_logits_at_the_size_of_the_input(dims):
    encoder = tiny.build(spatial_dims=dims, in_channels=1)
    decoder = unet.build(spatial_dims=dims, channels=encoder.channels, strides=encoder.strides)
    task = segment.build(spatial_dims=dims, classes=3)
    model = task.model(encoder, decoder)
    assert model(torch.rand(2, 1, *[16] * dims)).shape == (2, 3, *[16] * dims)
    assert {name.split(".")[0] for name in model.state_dict()} == {"encoder", "decoder", "head"}


def test_segmentation_without_decoder_is_refused():
    encoder = tiny.build(spatial_dims=2, in_channels=1)
    with pytest.raises(InputError, match="needs a decoder"):
        segment.build(spatial_dims=2, classes=2).model(encoder, None)


def test_unknown_label_value_names_the_case():
    task = segment.build(spatial_dims=2, classes=["lesion"])
    with pytest.raises(InputError, match=r"CT-12 has values from 0 to 3.*lesion"):
        task.target((), np.array([[[0, 3]]]), "CT-12")
    with pytest.raises(InputError, match="no label"):
        task.target((), None, "CT-12")


def test_metrics_name_classes_and_leave_absent_ones_out():
    task = segment.build(spatial_dims=2, classes=["head", "tail"], tolerance=1.0)
    target = np.zeros((4, 4), int)
    target[0] = 1
    prediction = torch.nn.functional.one_hot(torch.from_numpy(target), 3).movedim(-1, 0).float()
    row = task.metrics(prediction, target, (1.0, 1.0))
    assert row["dice"] == row["dice.head"] == row["nsd.head"] == 1
    assert row["hd95.head"] == 0
    assert math.isnan(row["dice.tail"])
    summary = task.summary([row, {**row, "dice": 0.5, "dice.head": 0.5, "dice.tail": 0.2}])
    assert summary["dice"] == 0.75
    assert summary["dice.tail"] == pytest.approx(0.2)


def test_false_alarms_of_absent_classes_are_told_apart():
    """One false voxel in a case without the class must not turn its NaN into a 0: arms would average other cases."""
    task = segment.build(spatial_dims=3, classes=["lesion"])
    nothing, some = np.zeros((2, 3, 4), int), np.zeros((2, 3, 4), int)
    some[0, 0, 0] = some[1, 2, 3] = 1
    one_hot = [torch.nn.functional.one_hot(torch.from_numpy(mask), 2).movedim(-1, 0) for mask in (nothing, some)]
    clean, noisy = (task.metrics(mask, nothing, (5.0, 10.0, 20.0)) for mask in one_hot)
    assert math.isnan(clean["dice"])
    assert math.isnan(noisy["dice"])
    assert (noisy["fp_ml.lesion"], noisy["fp_components.lesion"]) == (2, 2)
    found = task.metrics(one_hot[1], some, (5.0, 10.0, 20.0))
    assert "fp_ml.lesion" not in found
    summary = task.summary([found, clean, noisy])
    assert summary["dice"] == 1
    assert (summary["fp_cases.lesion"], summary["fp_ml.lesion"]) == (1, 1)


def test_the_floor_is_the_dice_of_the_mean_label():
    one, two = np.zeros((4, 4), int), np.zeros((4, 4), int)
    one[:2], two[:1] = 1, 1
    task = segment.build(spatial_dims=2, classes=2, floor=True, tolerance=1.0)
    floor = task.no_image_baseline([one, one, two], [one, two])
    assert floor == {"dice": pytest.approx((1 + 2 * 4 / 12) / 2), "dice.1": pytest.approx((1 + 2 * 4 / 12) / 2)}
    assert segment.build(spatial_dims=2, classes=2).no_image_baseline([one], [one]) is None


def test_class_names():
    cases = [SimpleNamespace(id="a"), SimpleNamespace(id="b")]
    labels = {"a": np.array([[[0, 1]]]), "b": np.array([[[0, 4]]])}
    assert segment.names(["a", "b"], cases, labels.get) == ["a", "b"]
    assert segment.names(3, cases, labels.get) == ["1", "2"]
    assert segment.names(None, cases, labels.get) == ["1", "2", "3", "4"]
    with pytest.raises(InputError, match="besides the background"):
        segment.names(None, cases, lambda name: np.zeros((1, 2, 2)))


def test_windows_are_weighted_by_a_gaussian_of_an_eighth():
    """Two windows of 8 over 12 voxels: where both lie, logits are their mean with the weights exp(-d^2 / 2)."""
    said = iter([0.0, 1.0])

    def model(x):
        return torch.stack([torch.full_like(one, next(said)) for one in x])

    found = windows.logits(model, torch.zeros(1, 1, 8, 12), (8, 8))[0, 0, 4].numpy()
    at = np.arange(12)
    one, two = (np.exp(-0.5 * ((at - middle) / (8 / 8)) ** 2) for middle in (3.5, 7.5))
    both = (at >= 4) & (at < 8)
    np.testing.assert_allclose(found[both], (two / (one + two))[both], atol=1e-3)
    assert (found[:4] == 0).all()
    assert (found[8:] == 1).all()


def test_mirror_images_are_turned_back_and_averaged():
    """A network that answers with how far right a voxel is: mirrored and turned back, it is how far left."""
    calls = []

    def model(x):
        calls.append(1)
        return torch.arange(4.0).expand_as(x) + x

    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(windows.mirrored(model, ())(image), torch.arange(4.0) + image)
    assert torch.equal(windows.mirrored(model, (1,))(image), torch.full((4,), 1.5) + image)
    assert len(calls) == 3
    windows.mirrored(model, (0, 1))(image)
    assert len(calls) == 7


def test_only_axes_that_training_mirrors_are_mirrored():
    made = [segment.build(spatial_dims=2, flips=(1,), mirror=mirror).settings.mirrors for mirror in (False, True)]
    assert made == [(), (1,)]


def test_deep_supervision_weighs_levels_by_halves_and_leaves_out_the_coarsest():
    encoder = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8, 16))
    decoder = unet.build(spatial_dims=2, channels=encoder.channels, strides=encoder.strides)
    task = segment.build(spatial_dims=2, classes=2, deep_supervision=True)
    model = task.model(encoder, decoder)
    logits = model.train()(torch.rand(2, 1, 16, 16))
    assert [tuple(each.shape[2:]) for each in logits] == [(16, 16), (8, 8)]  # of 16, 8 and 4
    label = torch.zeros(2, 16, 16, dtype=torch.long)
    label[:, 4:12, 4:12] = 1
    small = torch.zeros(2, 8, 8, dtype=torch.long)
    small[:, 2:6, 2:6] = 1
    plain = segment.build(spatial_dims=2, classes=2)
    first, second = (plain.loss(*pair).main for pair in ((logits[0], label), (logits[1], small)))
    for name, value in task.loss(logits, label).main.items():
        assert value.item() == pytest.approx((2 * first[name] + second[name]).item() / 3, rel=1e-6)
    sum(task.loss(logits, label).main.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.deep.parameters())
    single = model.eval()(torch.rand(2, 1, 16, 16))
    assert single.shape == (2, 2, 16, 16)


def test_the_largest_component_is_kept_if_that_is_better_on_validation():
    target, mask = np.zeros((8, 8), int), np.zeros((8, 8), int)
    target[1:4, 1:4] = mask[1:4, 1:4] = 1
    mask[6, 6] = 1
    prediction = torch.nn.functional.one_hot(torch.from_numpy(mask), 2).movedim(-1, 0).float()
    auto = segment.build(spatial_dims=2, classes=2, keep="auto")
    row = auto.metrics(prediction, target, (1.0, 1.0))
    assert row["dice"] == pytest.approx(18 / 19)
    assert row["dice_of_largest"] == 1
    assert auto.tuned([row]) == {"keep": "largest"}
    assert auto.tuned([{"dice": 0.5, "dice_of_largest": 0.5}]) == auto.tuned([]) == {"keep": "all"}
    kept = segment.build(spatial_dims=2, classes=2, keep="largest")
    assert kept.metrics(prediction, target, (1.0, 1.0))["dice"] == 1
    assert np.array_equal(kept.mask(prediction), target)
