from __future__ import annotations

import pytest
import torch
import yaml

from medssl.build import kinds
from medssl.build import parts as build
from medssl.engine.schedule import Weight
from medssl.recipe import PretrainRecipe, validate
from medssl.types import InputError

RECIPE = """
spatial_dims: 3
views: {size: [32, 32, 32], preset: ct}
crop: {kind: contrastive}
encoder: {kind: tiny}
decoder: {kind: unet}
method: {kind: adco, negatives: auto}
restore: {start: 0.2}
adversary: {start: 60, warmup: 0.1}
optimizers:
  main: {kind: sgd, lr: 0.03}
  bank: {kind: sgd, lr: 3.0}
  discriminator: {kind: adam, lr: 2e-4}
train: {steps: 100, batch: 4}
"""


def recipe(**changes):
    """The recipe above; `group={...}` changes keys of a group, `group=None` removes it."""
    content = yaml.safe_load(RECIPE.replace("2e-4", "0.0002"))
    for group, change in changes.items():
        content[group] = {**content[group], **change} if isinstance(change, dict) else change
    content["optimizers"] = {name: spec for name, spec in content["optimizers"].items() if spec is not None}
    return validate(PretrainRecipe, content, "recipe")


def example(*, encoder, size: tuple[int, ...], rate: float = 0.5, mode: str | None = None, count: int = 2):
    return encoder, size, rate, mode, count


def test_a_list_becomes_a_tuple_and_a_whole_number_a_float():
    found = kinds.check(example, {"size": [4, 5], "rate": 1}, "x", ["encoder"])
    assert found == {"size": (4, 5), "rate": 1.0}
    assert kinds.call(example, {"size": [4]}, "x", {"encoder": "net", "unused": 1}) == ("net", (4,), 0.5, None, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"size": [4], "rat": 0.1}, "unknown key 'rat' in method .adco.; did you mean 'rate'?"),
        ({"rate": 0.1}, "'size' is missing in method .adco."),
        ({"size": [4], "rate": "0.1"}, "'rate' in method .adco. should be a valid number, but '0.1' was given"),
        ({"size": [4], "count": 2.0}, "'count' in method .adco. should be a valid integer.* but 2.0 was given"),
        ({"size": [4], "count": True}, "'count' in method .adco. should be a valid integer, but True was given"),
        ({"size": [4, "5"]}, r"'size.1' in method .adco. should be a valid integer, but '5' was given"),
        ({"size": [4], "encoder": 1}, "unknown key 'encoder'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(arguments, told):
    with pytest.raises(InputError, match=told) as error:
        kinds.check(example, arguments, "method (adco)", ["encoder"])
    assert "\n" not in str(error.value)


def test_defaults_are_filled_as_plain_values():
    assert kinds.filled(example, {"size": (4, 5)}, ["encoder"]) == {
        "size": [4, 5],
        "rate": 0.5,
        "mode": None,
        "count": 2,
    }


def test_kinds_are_found_on_disk_and_an_unknown_one_lists_them():
    assert {"adco", "moco_v2", "simsiam", "barlow_twins"} <= set(kinds.kinds("method"))
    assert kinds.kinds("crop") == ["contrastive", "random"]
    with pytest.raises(InputError, match=r"method.kind=adcoo does not exist; did you mean 'adco'"):
        kinds.resolve("method", "adcoo")
    with pytest.raises(InputError, match="base does not exist"):  # a module, but without a build
        kinds.resolve("method", "base")


def test_a_dotted_kind_reaches_outside(tmp_path, monkeypatch):
    (tmp_path / "my_encoders").mkdir()
    (tmp_path / "my_encoders" / "small.py").write_text(
        "def build(*, spatial_dims, in_channels):\n    return spatial_dims\n"
    )
    (tmp_path / "my_encoders" / "needy.py").write_text("import package_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    supplied = {"spatial_dims": 3, "in_channels": 1}
    assert kinds.make("encoder", {"kind": "my_encoders.small"}, supplied) == 3
    with pytest.raises(InputError, match=r"my_encoders.none is not a module"):
        kinds.resolve("encoder", "my_encoders.none")
    with pytest.raises(InputError, match=r"needs the package package_that_is_not_there"):
        kinds.resolve("encoder", "my_encoders.needy")


def test_losses_have_published_weights_and_times_in_steps():
    assert build.weights(recipe()) == {
        "discrimination": Weight(1.0, 0, 0),
        "restoration": Weight(10.0, 20, 0),
        "adversarial": Weight(0.001, 60, 10),
    }
    assert build.weights(recipe(restore={"weight": 2.0, "start": 5}))["restoration"] == Weight(2.0, 5, 0)


def test_a_loss_may_end_and_times_may_be_epochs():
    made = build.weights(recipe(method={"end": 0.5}, adversary={"end": 80}))
    assert made["discrimination"] == Weight(1.0, 0, 0, 50)
    assert made["adversarial"] == Weight(0.001, 60, 10, 80)
    parts = build.pretrain_parts(recipe(restore={"start": "5 epochs"}, adversary={"start": "7 epochs"}), samples=20)
    assert (parts.weights["restoration"].start, parts.weights["adversarial"].start) == (25, 35)
    build.pretrain_parts(recipe(adversary={"start": "7 epochs"}))  # 20 samples or 20,000: not known yet
    with pytest.raises(InputError, match=r"adversary.start=125 is step 125, but the run has 100"):
        build.validate(recipe(adversary={"start": "5 epochs"}), samples=100)
    with pytest.raises(InputError, match=r"crop.start is step 125"):
        build.validate(recipe(crop={"start": "5 epochs"}), samples=100)


def test_every_part_is_built_and_players_match_optimizers():
    parts = build.pretrain_parts(recipe(), samples=20)
    assert set(parts.pretext.players()) == {"main", "bank", "discriminator"}
    assert parts.pretext.method.bank.shape[0] == 16  # the largest power of two not above 20 samples
    assert parts.views.sizes == ((32, 32, 32), (32, 32, 32))


def test_without_restoration_there_is_no_decoder():
    only = recipe(restore=None, adversary=None, optimizers={"discriminator": None})
    assert build.pretrain_parts(only, samples=20).pretext.decoder is None


def test_validation_makes_no_weights_and_leaves_the_random_stream_alone():
    before = torch.get_rng_state()
    build.validate(recipe())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_resolved_recipe_holds_the_defaults_of_the_kinds_and_resolves_to_itself():
    content = build.resolved(recipe())
    assert content["method"]["temperature"] == 0.12
    assert content["method"]["weight"] == 1.0
    assert content["restore"] == {"weight": 10.0, "start": 0.2, "warmup": 0} | {
        key: content["restore"][key] for key in content["restore"] if key not in ("weight", "start", "warmup")
    }
    assert content["views"]["count"] == 2
    assert content["encoder"]["channels"] == [16, 32, 64, 128]
    assert build.resolved(validate(PretrainRecipe, content, "recipe")) == content


HEAD = {"method": {"head_norm": "batch"}, "decoder": {"norm": "group"}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": {"temperatur": 0.1}}, "unknown key 'temperatur' in method .adco.; did you mean 'temperature'?"),
        ({"method": {"temperature": "cold"}}, "'temperature' in method .adco."),
        ({"method": {"temperature": float("inf")}}, "'temperature' in method .adco. should be a finite number"),
        ({"method": {"momentum": 1.5}}, "method.momentum is 1.5: give a number from 0 to 1"),
        ({"method": {"momentum": -1.0}}, "method.momentum is -1.0"),
        ({"method": {"momentum": float("nan")}}, "'momentum' in method .adco. should be a finite number"),
        ({"method": {"prune": 2.0}}, "method.prune is 2.0: it is a cosine"),
        ({"method": {"prune": -1.0}}, "method.prune is -1.0: it is a cosine"),
        ({"method": {"prune": float("nan")}}, "'prune' in method .adco. should be a finite number"),
        ({"method": {"kind": "adcoo"}}, "did you mean 'adco'"),
        ({"views": {"sise": 3}}, "unknown key 'sise' in views; did you mean 'size'?"),
        ({"views": {"size": [33, 32, 32]}}, "not divisible"),
        ({"views": {"size": [32, 32]}}, "3 positive sizes"),
        ({"views": {"count": 1}}, "views.count is 1"),
        ({"views": {"intensity": [{"kind": "gamma", "gamma": [0.5]}]}}, r"gamma is \[0.5\], give two numbers"),
        ({"views": {"intensity": [{"kind": "stain_jitter"}]}}, "needs RGB images in 2D, but spatial_dims is 3"),
        ({"views": {"channels": 3}}, "unknown key 'channels' in views"),
        (
            {"views": {"size": [[32, 32, 32], [32, 32, 32], [16, 16, 15]], "count": 3}},
            r"\[16, 16, 15\] is not divisible",
        ),
        ({"views": {"size": [8, 8, 8]}}, r"an axis above 8 voxels, not \[8, 8, 8\]"),
        ({"views": {"size": [16, 16, 16]}, "encoder": {"norm": "instance"}}, "a single voxel at the encoder's deepest"),
        ({"crop": {"alpha": -1.0}}, "crop.alpha is -1.0"),
        ({"crop": {"level": 9}}, "crop.level=9, but the encoder has the levels 0 to 3"),
        ({"restore": None}, "adversary judges restored images, but restore is null"),
        ({"method": None, "restore": None, "adversary": None}, "nothing to learn"),
        ({"method": {"start": 0.5}}, "no loss is active at step 0"),
        ({"method": {"end": 0}}, "method.end=0 is step 0, but it starts at 0: end it later"),
        ({"method": {"end": 0.1}}, "from step 10 on no loss would be active"),
        ({"restore": {"end": 0.7}}, "from step 70 on only adversarial and discrimination would be active"),
        ({"restore": {"end": 90}, "method": {"end": 90}}, "from step 90 on only adversarial would be active"),
        ({"method": {"end": "1 ep"}}, "'method' has end='1 ep', but end must be a time"),
        ({"restore": {"start": 100}}, "restore.start=100 is step 100, but the run has 100"),
        ({"restore": {"start": 1.0}}, "restore.start=1.0 is step 100"),
        ({"adversary": {"start": 0.1}}, "adversary starts at step 10, restore at 20"),
        ({"restore": {"weight": -1.0}}, "must not be negative"),
        ({"restore": {"start": "late"}}, "'restore' has start="),
        ({"decoder": None}, "set decoder.kind=unet"),
        ({"train": {"batch": 3, "accumulate": 2}}, "train.batch=3 cannot be divided.*use train.batch=4"),
        (
            {"train": {"batch": 1}, "decoder": {"norm": "batch"}},
            "a batch of 1 .* is a batch norm.*set decoder.norm=group$",
        ),
        ({"train": {"batch": 1}, **HEAD}, r"but method\.head.* set method.head_norm=none$"),
        (
            {"train": {"batch": 1}, **HEAD, "encoder": {"norm": "batch"}},
            "raise train.batch, or set encoder.norm=group and method.head_norm=none$",
        ),
        ({"restore": {"warmup": 101}}, "restore.warmup=101 is longer than the run of 100"),
        ({"optimizers": {"main": {"kind": "sgd", "lr": 0.1, "warmup": 101}}}, "optimizers.main.warmup=101 is longer"),
        ({"restore": {"masked_only": True}, "views": {"corrupt": None}}, "corrupt=None masks no voxel of views"),
        (
            {"restore": {"masked_only": True}, "views": {"corrupt": {"kind": "mask", "block": 32, "ratio": 0.4}}},
            r"masks no voxel of views of size \[32, 32, 32\]",
        ),
        ({"views": {"size": []}}, r"views.size is \[\]: give 3 positive sizes"),
        ({"encoder": {"channels": []}}, r"encoder.channels is \[\]: give the channels of each level"),
        ({"encoder": {"channels": [8, 0]}}, r"encoder.channels is \[8, 0\]"),
        ({"optimizers": {"bank": None}}, "no entry for the player 'bank': add optimizers.bank.kind"),
        ({"adversary": None}, "optimizers.discriminator has no player"),
    ],
)
def test_what_cannot_work_is_refused_before_any_data_is_read(changes, told):
    with pytest.raises(InputError, match=told):
        build.validate(recipe(**changes))


def test_masks_that_are_there_may_be_all_that_counts():
    build.validate(recipe(restore={"masked_only": True}))
    rare = {"kind": "mask", "block": 8, "prob": 0.2}
    build.validate(recipe(restore={"masked_only": True}, views={"corrupt": rare}))


def test_a_batch_of_one_a_device_is_refused_with_batch_norm_only():
    with pytest.raises(InputError, match="a batch of 1 per device"):
        build.validate(recipe(decoder={"norm": "batch"}), world=4)
    build.validate(recipe(decoder={"norm": "group"}), world=4)
    build.validate(recipe(decoder={"norm": "sync_batch"}), world=4)  # its batch is the global one


def test_views_may_differ_in_size():
    sizes = [[32, 32, 32], [32, 32, 32], [16, 16, 16], [16, 16, 24]]
    assert build.pretrain_parts(recipe(views={"size": sizes, "count": 4})).views.sizes == tuple(map(tuple, sizes))


@pytest.mark.parametrize("kind", ["random", "contrastive"])
def test_a_range_of_scales_a_view_fits_the_views(kind):
    ranges = [[0.2, 1.0], [0.1, 0.5], [0.05, 0.3]]
    build.validate(recipe(views={"count": 3}, crop={"kind": kind, "scale": ranges}))
    with pytest.raises(InputError, match=r"crop.scale holds 3 ranges but views.count is 2: give one, or one per view"):
        build.validate(recipe(crop={"kind": kind, "scale": ranges}))
    with pytest.raises(InputError, match=r"'scale"):
        build.validate(recipe(crop={"kind": kind, "scale": [[0.2, 1.0], 0.5]}))
    for none in ([], [[]]):
        with pytest.raises(InputError, match="scale"):
            build.validate(recipe(crop={"kind": kind, "scale": none}))


def test_a_bank_larger_than_the_data_is_refused_with_what_works():
    with pytest.raises(InputError, match=r"method.negatives.* 4096 .*20 samples"):
        build.pretrain_parts(recipe(method={"negatives": 4096}), samples=20)
