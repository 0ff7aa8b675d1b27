"""Every part on disk holds to the laws of its sort, found without a list, and the laws refuse what breaks them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from outside import anything, hottest, npz, plain, shading
from torch import nn

from medssl import crop, transforms
from medssl.kinds import kinds
from medssl.testing import LawError, check_crop, check_encoder, check_exporter, check_task, check_transform
from medssl.types import InputError, Window

torch.set_num_threads(1)

EXPORT_OF_A_RUN = ("monai_bundle", "nnunet")  # formats that do not take the small pretraining of check_exporter
SMALL = {
    "resenc": {"stages": 3},
    "swin_unetr": {"feature_size": 24},
}  # settings of encoders that are slow to check as they come


@pytest.mark.parametrize("kind", kinds("encoder"))
def test_an_encoder_holds_to_the_laws(kind):
    check_encoder(kind, spatial_dims=(2,), **SMALL.get(kind, {}))


def test_an_encoder_holds_to_the_laws_in_3d():
    check_encoder("tiny", spatial_dims=(3,))


@pytest.mark.parametrize("kind", kinds("crop"))
def test_a_crop_policy_holds_to_the_laws(kind):
    check_crop(kind)


@pytest.mark.parametrize("kind", kinds("intensity") + kinds("corrupt"))
def test_a_kind_of_change_holds_to_the_laws(kind):
    check_transform(kind)


@pytest.mark.parametrize("name", transforms.__all__)
def test_a_transform_as_users_import_it_holds_to_the_laws(name):
    check_transform(getattr(transforms, name))


@pytest.mark.parametrize("name", crop.__all__)
@pytest.mark.parametrize("size", [(8, 9), (8, 9, 7)])
def test_a_transform_that_crops_holds_to_the_laws(name, size):
    check_transform(getattr(crop, name), size=size)


@pytest.mark.parametrize("settings", [{"flip": 1.0}, {"turn": True}, {"size": (9, 8, 7), "zoom": 0.3}])
def test_a_spatial_transform_takes_the_affine_along(settings):
    check_transform(transforms.RandAffineWarpd, **settings)


@pytest.mark.parametrize("kind", kinds("task"))
def test_a_task_holds_to_the_laws(kind):
    # what is found from the labels of images alone has one kind of lesion, unless an image may have several labels
    check_task(kind, **({"multilabel": True} if kind == "localize_from_classes" else {}))


@pytest.mark.parametrize("kind", [kind for kind in kinds("export") if kind not in EXPORT_OF_A_RUN])
def test_an_export_format_holds_to_the_laws(kind):
    check_exporter(kind)


@pytest.mark.parametrize("kind", EXPORT_OF_A_RUN)
def test_a_format_that_does_not_take_every_run_is_checked_with_its_own_tests(kind):
    text = (Path(__file__).parents[1] / "unit" / f"test_{kind}.py").read_text()
    assert f'check_exporter("{kind}", ' in text


class Wrong(plain.Plain):
    """Says another stride than its features have."""

    def __init__(self, *given):
        super().__init__(*given)
        self.strides = (2, 8)


class Greedy(plain.Plain):
    """Takes any size."""

    def forward(self, x):
        fine = self.levels[0](x)
        return fine, self.levels[1](fine)


class Dead(plain.Plain):
    """A layer that nothing passes."""

    def __init__(self, *given):
        super().__init__(*given)
        self.spare = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Wrong, "stated channels and strides"),
        (Greedy, "divisor does not divide are refused"),
        (Dead, "none reached spare.bias, spare.weight"),
    ],
)
def test_a_broken_encoder_is_refused(broken, said):
    def build(*, spatial_dims: int, in_channels: int):
        return broken(spatial_dims, in_channels, 4)

    with pytest.raises(LawError, match=said):
        check_encoder(build, spatial_dims=(2,))


class Outside(hottest.Hottest):
    """Windows that begin before the array."""

    def window(self, *given):
        return Window(tuple(-1 for _ in given[0]), given[0])


class Forgetful(hottest.Hottest):
    """A state without boxes."""

    def state(self):
        return {**super().state(), "boxes": torch.zeros_like(self.boxes)}


class Indifferent(hottest.Hottest):
    """Takes maps, and looks anywhere."""

    def boxes_of(self, maps, size, foreground):
        index, boxes = super().boxes_of(maps, size, foreground)
        return index, boxes * 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Outside, "windows lie inside the array"),
        (Forgetful, "loads a state from a file"),
        (Indifferent, "windows lie closer to the hot region"),
    ],
)
def test_a_broken_crop_policy_is_refused(broken, said):
    with pytest.raises(LawError, match=said):
        check_crop(lambda *, samples, spatial_dims: broken(samples, spatial_dims, 2, 2), spatial_dims=(2,))


class Unlogged(shading.RandShadingd):
    """A draw that JSON cannot hold."""

    def parameters(self, rng, shape):
        return {"fall": np.float32(rng.uniform(0, 0.5))}


class Stateful(shading.RandShadingd):
    """A change that is not in the draw."""

    calls = 0

    def change(self, x, params):
        self.calls += 1
        return super().change(x, params) / self.calls


class InPlace(shading.RandShadingd):
    """A change of the input itself."""

    def change(self, x, params):
        x *= 0.5
        return super().change(x, params)


class Brighter(shading.RandShadingd):
    """Values beyond 1."""

    def change(self, x, params):
        return super().change(x, params) + 1


class OtherBatches(shading.RandShadingd):
    """Batches that are changed in another way than images."""

    def change_batch(self, x, drawn):
        return x / 2


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Unlogged, "what JSON can hold"),
        (Stateful, "replays byte for byte"),
        (InPlace, "the input is left as it is"),
        (Brighter, "stays in 0..1"),
        (OtherBatches, "apply_batch makes of each sample what apply makes"),
    ],
)
def test_a_broken_transform_is_refused(broken, said):
    with pytest.raises(LawError, match=said):
        check_transform(broken)


class Opposed(anything.Anything):
    """A loss that rewards what is wrong."""

    def loss(self, output, label):
        return super().loss(output, 1 - label)


class Vain(anything.Anything):
    """A score of the wrong."""

    def metrics(self, prediction, target, spacing):
        return super().metrics(prediction, 1 - target, spacing)


class Other(anything.Anything):
    """A score that is not that of its rows."""

    def resampled(self, rows):
        return lambda i: super(Other, self).resampled(rows)(i) / 2


class Spoils(anything.Anything):
    """Writes into the labels."""

    def target(self, names, label, case):
        label[label > 0] = 1
        return super().target(names, label, case)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Opposed, "a right prediction costs less"),
        (Vain, "a right prediction scores more"),
        (Other, "resampled of all rows is the score"),
        (Spoils, "target leaves the label volume as it is"),
    ],
)
def test_a_broken_task_is_refused(broken, said):
    def build(*, spatial_dims: int):
        return broken(
            spatial_dims=spatial_dims,
            classes=["x"],
            pooled="batch",
            smooth=1.0,
            overlap=0.5,
            tolerance=None,
            floor=False,
        )

    with pytest.raises(LawError, match=said):
        check_task(build)


class Lossy:
    """Half of the digits."""

    @staticmethod
    def export(run, out):
        return npz.export(run, out)

    @staticmethod
    def load(folder):
        return {
            name: tensor.half().float() if tensor.is_floating_point() else tensor
            for name, tensor in npz.load(folder).items()
        }


class Overwrites:
    """Writes over what is there."""

    @staticmethod
    def export(run, out):
        try:
            return npz.export(run, out)
        except InputError:
            return out


class Tells:
    """Says where the run lay."""

    @staticmethod
    def export(run, out):
        npz.export(run, out)
        (out / "README").write_text(f"exported from {run}")
        return out


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Lossy, "a round trip gives the encoder's tensors"),
        (Overwrites, "a folder that holds something is refused"),
        (Tells, "no file tells where the run"),
    ],
)
def test_a_broken_exporter_is_refused(broken, said):
    with pytest.raises(LawError, match=said):
        check_exporter(broken)
