from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medssl.metrics import classification
from medssl.models.encoder import tiny
from medssl.tasks import classify
from medssl.types import InputError


def rows(task, probabilities, names):
    made = []
    for probability, classes in zip(probabilities, names, strict=True):
        target = task.target(classes, None, "x")
        made.append(task.metrics(torch.tensor(probability), target, (1.0, 1.0)))
    return made


def test_two_classes_report_the_positive_one():
    task = classify.build(classes=["healthy", "ill"])
    probabilities = [(0.9, 0.1), (0.6, 0.4), (0.7, 0.3), (0.2, 0.8)]
    truth = [["healthy"], ["healthy"], ["ill"], ["ill"]]
    scores = task.summary(rows(task, probabilities, truth))
    assert task.positive == "ill"
    assert scores["auc"] == pytest.approx(3 / 4)  # of 4 pairs (ill, healthy) 3 are in order
    assert scores["balanced_accuracy"] == pytest.approx(0.75)
    turned = classify.build(classes=["healthy", "ill"], positive="healthy")
    assert turned.summary(rows(turned, probabilities, truth))["auc"] == pytest.approx(3 / 4)


def test_many_classes_average_over_classes_that_occur():
    task = classify.build(classes=["a", "b", "c"])
    scores = task.summary(rows(task, [(0.8, 0.1, 0.1), (0.1, 0.8, 0.1)], [["a"], ["b"]]))
    assert scores["auc"] == scores["auc.a"] == scores["auc.b"] == 1
    assert math.isnan(scores["auc.c"])


def test_a_resample_without_a_class_has_no_macro_auc():
    """The classes of the mean are those of the whole test: else each resample would average over other ones."""
    task = classify.build(classes=["a", "b", "c"])
    drawn = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    truth = [["a"]] * 8 + [["b"]] * 8 + [["c"]] * 4
    found = rows(task, drawn, truth)
    scores, resampled = task.summary(found), task.resampled(found)
    assert scores["auc"] == pytest.approx((scores["auc.a"] + scores["auc.b"]) / 2)  # c has fewer than five cases
    assert resampled(np.arange(20)) == pytest.approx(scores["auc"])
    assert math.isnan(resampled(np.r_[0:8, 16:20]))  # a against c is known, but b is missing


def test_calibration_of_two_many_and_several_classes():
    two = classify.build(classes=["healthy", "ill"])
    scores = two.summary(rows(two, [(0.8, 0.2), (0.4, 0.6)], [["healthy"], ["ill"]]))
    assert (scores["ece"], scores["brier"]) == pytest.approx((0.3, 0.1))  # of the positive class
    many = classify.build(classes=["a", "b", "c"])
    scores = many.summary(rows(many, [(0.8, 0.2, 0.0), (0.5, 0.3, 0.2)], [["a"], ["b"]]))
    assert scores["ece"] == pytest.approx((0.2 + 0.5) / 2)  # of the predicted class
    assert scores["brier"] == pytest.approx((0.04 + 0.04 + 0.25 + 0.49 + 0.04) / 2)
    several = classify.build(classes=["a", "b"], multilabel=True)
    scores = several.summary(rows(several, [(0.8, 0.4)], [["a", "b"]]))
    assert scores["ece"] == pytest.approx((0.2 + 0.6) / 2)
    assert scores["brier"] == pytest.approx((0.04 + 0.36) / 2)


def test_multilabel_targets_and_loss():
    task = classify.build(classes=["a", "b"], multilabel=True)
    target = torch.from_numpy(np.stack([task.target(["b", "a"], None, "x"), task.target([], None, "y")]))
    assert target.tolist() == [[1, 1], [0, 0]]
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert task.loss(logits, target).main["cross_entropy"].item() == pytest.approx(math.log(2))
    assert task.predict(torch.nn.Identity(), logits, (1,)).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_multiclass_loss_of_equal_logits_is_log_of_classes():
    task = classify.build(classes=["a", "b", "c"])
    target = torch.from_numpy(task.target(["b"], None, "x")[None])
    assert task.loss(torch.zeros(1, 3), target).main["cross_entropy"].item() == pytest.approx(math.log(3))
    assert task.predict(torch.nn.Identity(), torch.zeros(1, 3), (1,)).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("dims", [2, 3])
def test_model(dims):
    task = classify.build(classes=["a", "b", "c"])
    model = task.model(tiny.build(spatial_dims=dims, in_channels=1), None)
    assert model(torch.rand(2, 1, *[16] * dims)).shape == (2, 3)
    assert {name.split(".")[0] for name in model.state_dict()} == {"encoder", "head"}


def test_what_does_not_fit_is_refused():
    task = classify.build(classes=["a", "b"])
    with pytest.raises(InputError, match="case X-1 has class c, which is not among a, b"):
        task.target(["c"], None, "X-1")
    with pytest.raises(InputError, match=r"case X-1 has a;b.*set task.multilabel=true"):
        task.target(["a", "b"], None, "X-1")
    with pytest.raises(InputError, match="no class"):
        task.target([], None, "X-1")
    with pytest.raises(InputError, match="two classes"):
        classify.build(classes=["a"])
    with pytest.raises(InputError, match="'z' is not one of"):
        classify.build(classes=["a", "b"], positive="z")


class TestUncertain:
    """`b?` is left out, absent or present; what is left out changes neither loss nor scores."""

    def task(self, uncertain="ignore"):
        return classify.build(classes=["a", "b", "c"], multilabel=True, uncertain=uncertain)

    @pytest.mark.parametrize(("uncertain", "b"), [("ignore", np.nan), ("zero", 0), ("one", 1)])
    def test_target(self, uncertain, b):
        found = self.task(uncertain).target(["a", "b?"], None, "x")
        np.testing.assert_array_equal(found, np.array([1, b, 0], np.float32))

    def test_an_unknown_uncertain_class_is_refused(self):
        with pytest.raises(InputError, match="class d"):
            self.task().target(["d?"], None, "x")

    def test_loss_is_the_mean_over_what_is_known_and_has_no_other_gradient(self):
        logits = torch.tensor([[0.3, -2.0, 1.0], [0.1, 0.7, -0.4]], requires_grad=True)
        label = torch.tensor([[1.0, torch.nan, 0.0], [0.0, 1.0, 1.0]])
        loss = self.task().loss(logits, label).main["cross_entropy"]
        kept = ~label.isnan()
        by_hand = torch.nn.functional.binary_cross_entropy_with_logits(logits.detach()[kept], label[kept])
        assert loss.item() == pytest.approx(by_hand.item())
        loss.backward()
        assert logits.grad[0, 1] == 0
        assert (logits.grad[kept] != 0).all()

    def test_scores_are_those_without_the_uncertain_pairs(self):
        task, rng = self.task(), np.random.default_rng(0)
        truth = rng.integers(0, 2, (40, 3)).astype(float)
        probability = rng.random((40, 3))
        unsure = truth.copy()
        unsure[rng.random((40, 3)) < 0.2] = np.nan
        rows = [task.metrics(torch.from_numpy(p), t, ()) for p, t in zip(probability, unsure, strict=True)]
        found = task.summary(rows)
        for number, name in enumerate("abc"):
            kept = ~np.isnan(unsure[:, number])
            by_hand = classification.auc(probability[kept, number, None], truth[kept, number, None])[0]
            assert found[f"auc.{name}"] == pytest.approx(by_hand)

    def test_classes_are_named_without_the_mark(self):
        cases = [SimpleNamespace(classes=names) for names in (("a", "b?"), ("c",))]
        assert classify.names(None, cases, None) == ["a", "b", "c"]
