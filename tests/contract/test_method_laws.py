"""Every method on disk holds to the laws; a right BYOL passes untouched, and six that are broken are refused."""

from __future__ import annotations

import pytest
import torch
from outside import byol
from outside.byol import BYOL

from medssl.kinds import kinds, resolve
from medssl.testing import LawError, check_method, small

torch.set_num_threads(1)


@pytest.mark.parametrize("kind", kinds("method"))
def test_a_method_holds_to_the_laws(kind):
    check_method(kind, **small(resolve("method", kind).build))


def test_adco_that_begins_as_a_queue_holds_to_the_laws():
    check_method("adco", **small(resolve("method", "adco").build), learn_from=10)


def test_a_right_byol_passes_untouched():
    check_method(byol)


class Unused(BYOL):
    """Broken: the predictor predicts nothing."""

    def predict(self, z):
        return z


class Still(BYOL):
    """Broken: the target never moves."""

    def after_step(self, encoder, step):
        pass


class Zero(BYOL):
    """Broken: the loss is 0, and so is its gradient."""

    def distance(self, p, z):
        return 0 * super().distance(p, z)


class Flipped(BYOL):
    """Broken: views are pushed apart."""

    def distance(self, p, z):
        return -super().distance(p, z)


class Detached(BYOL):
    """Broken: nothing reaches the encoder."""

    def project(self, features):
        return super().project([feature.detach() for feature in features])


class Unbegun(BYOL):
    """Broken: weights that are loaded never reach the target."""

    def begin(self, encoder):
        pass


BROKEN = {
    Unused: "every main parameter gets a gradient.*method.predictor",
    Still: r"after_step moves copies if and only if momentum < 1; seen: momentum .* stood still",
    Zero: "every main parameter gets a gradient",
    Flipped: "a view predicts the other view of its sample better",
    Detached: "every main parameter gets a gradient.*encoder.levels",
    Unbegun: "begin makes copies equal",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_byol_is_refused_by_the_law_that_it_breaks(broken):
    def build(*, encoder, steps: int, momentum: float = 0.996):
        return byol.made(broken, encoder, steps, momentum)

    with pytest.raises(LawError, match=BROKEN[broken]):
        check_method(build)
