"""The export for nnU-Net: a plain file with the whole network, whose encoder is ours, and a plan for its loader."""

from __future__ import annotations

import json
import subprocess
import sys

import made_runs
import pytest
import torch

from medssl import export_weights
from medssl.engine import checkpoint
from medssl.recipe import shipped
from medssl.runtime.known import load
from medssl.testing import check_exporter
from medssl.types import InputError

unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
STEM, STAGES = "encoder.stem", "encoder.stages"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    encoder = {"kind": "resenc", "stages": 3, "strides": [1, [1, 2, 2], 2], "kernels": [[1, 3, 3], 3, 3]}
    return made_runs.pretraining(tmp_path_factory.mktemp("nnunet") / "run", encoder)


@pytest.fixture(scope="module")
def exported(run):
    return export_weights(run, run.parent / "nnunet", to="nnunet", patch=[16, 64, 64])


@pytest.fixture(scope="module")
def content(exported):
    return torch.load(exported / "checkpoint_final.pth", weights_only=True)  # plain types only


def network(plan, channels=1):
    """What nnU-Net builds of the plan."""
    about = plan["architecture_plans"]
    arguments = dict(about["arch_kwargs"])
    for key in about["arch_kwargs_requiring_import"]:
        if arguments[key] is not None:
            arguments[key] = getattr(torch.nn, arguments[key].split(".")[-1])
    assert about["arch_class_name"] == f"{unet.__name__}.ResidualEncoderUNet"
    torch.manual_seed(3)
    return unet.ResidualEncoderUNet(channels, num_classes=5, deep_supervision=True, **arguments)


def test_it_holds_to_the_laws_of_formats(run):
    check_exporter("nnunet", run)


def test_every_encoder_tensor_is_ours_and_each_is_stored_once(run, exported, content):
    ours = checkpoint.load(checkpoint.find(run))["weights"]
    ours = {name: tensor for name, tensor in ours.items() if name.startswith("encoder.")}
    theirs = content["network_weights"]
    assert {name for name in theirs if name.startswith("encoder.")} == set(ours)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())
    once = {(t.data_ptr(), t.shape): t.numel() * 4 for t in theirs.values()}
    assert (exported / "checkpoint_final.pth").stat().st_size < sum(once.values()) + 1_000_000


def test_the_released_loader_finds_every_tensor_it_asks_for(content):
    """nnU-Net's -pretrained_weights: every key but .seg_layers. must be there, of equal shape."""
    wanted = network(content["nnssl_adaptation_plan"]).state_dict()
    found = content["network_weights"]
    missing = [name for name in wanted if ".seg_layers." not in name and name not in found]
    other = [n for n in wanted if ".seg_layers." not in n and n in found and found[n].shape != wanted[n].shape]
    assert (missing, other) == ([], [])


@pytest.mark.parametrize("channels", [1, 2])
def test_the_loader_for_nnssl_puts_stem_and_stages_in_and_repeats_the_stem(content, channels):
    """Its rule: strict loads of both; a stem for more channels is repeated and divided by their number."""
    plan, found = content["nnssl_adaptation_plan"], content["network_weights"]
    net = network(plan, channels)
    assert (net.key_to_encoder, net.key_to_stem) == (plan["key_to_encoder"], plan["key_to_stem"]) == (STAGES, STEM)
    assert list(net.keys_to_in_proj) == plan["keys_to_in_proj"]
    stem = {name.removeprefix(f"{STEM}."): tensor for name, tensor in found.items() if name.startswith(f"{STEM}.")}
    for name in plan["keys_to_in_proj"]:
        key = f"{name}.weight".removeprefix(f"{STEM}.")
        stem[key] = stem[key].repeat(1, channels, 1, 1, 1) / channels
    net.get_submodule(STEM).load_state_dict(stem)
    stages = {
        name.removeprefix(f"{STAGES}."): tensor for name, tensor in found.items() if name.startswith(f"{STAGES}.")
    }
    net.get_submodule(STAGES).load_state_dict(stages)
    x = torch.rand(1, 1, 16, 32, 32)
    mine = network(plan)
    mine.encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in found.items() if k.startswith("encoder.")})
    for ours, theirs in zip(mine.eval().encoder(x), net.eval().encoder(x.repeat(1, channels, 1, 1, 1)), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_the_plan_says_stages_kernels_spacing_and_patch(exported, content):
    plan = content["nnssl_adaptation_plan"]
    arguments = plan["architecture_plans"]["arch_kwargs"]
    assert (arguments["n_stages"], arguments["features_per_stage"]) == (3, [32, 64, 128])
    assert arguments["kernel_sizes"] == [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    assert arguments["strides"] == [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    [configuration] = plan["pretrain_plan"]["configurations"].values()
    assert (configuration["spacing"], configuration["patch_size"]) == ([1.5, 1.0, 1.0], [32, 32, 32])
    assert plan["recommended_downstream_patchsize"] == [16, 64, 64]
    assert (plan["pretrain_num_input_channels"], plan["key_to_lpe"]) == (1, None)
    assert json.loads((exported / "adaptation_plan.json").read_text()) == {**plan, "trainer_name": "medssl"}
    assert {path.name for path in exported.iterdir()} == {
        "checkpoint_final.pth",
        "adaptation_plan.json",
        "config.json",
        "README.md",
    }
    assert "The decoder is fresh" in (exported / "README.md").read_text()
    assert all({"type", "name", "apa_citations"} == set(one) for one in content["citations"])


def test_writing_it_needs_neither_timm_nor_torchvision(run, tmp_path):
    code = f"""
import sys
sys.modules["timm"] = sys.modules["torchvision"] = None  # their import now fails
from medssl import export_weights
export_weights({str(run)!r}, {str(tmp_path / "out")!r}, to="nnunet")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "out" / "checkpoint_final.pth").is_file()


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"kind": "tiny"}, "no encoder like tiny: pretrain with encoder.kind=resenc .recipe dira_resenc_3d"),
        ({"kind": "resenc", "stages": 3, "norm": "group"}, "has instance norm, this one group"),
    ],
)
def test_what_nnunet_has_not_is_refused_with_what_helps(tmp_path, encoder, said):
    run = made_runs.pretraining(tmp_path / "run", encoder)
    with pytest.raises(InputError, match=said):
        export_weights(run, tmp_path / "out", to="nnunet")
    assert not (tmp_path / "out").exists()


def test_a_patch_that_the_stages_do_not_divide_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"patch \[15, 64, 64\] is not divisible"):
        export_weights(run, tmp_path / "out", to="nnunet", patch=[15, 64, 64])


def test_the_recipe_for_it_has_its_default_encoder():
    made, _ = load("pretrain", "dira_resenc_3d")
    assert made.encoder == {"kind": "resenc", "preset": "L"}
    assert [path.stem for path in shipped("pretrain") if "resenc" in path.stem] == ["dira_resenc_3d"]
