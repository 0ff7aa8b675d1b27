"""Weights for nnU-Net: one checkpoint for `-pretrained_weights` and for its route for nnssl checkpoints.

Released nnU-Net (2.8) takes a checkpoint of the whole network whose shapes equal those of its plans; its development
branch adapts the encoder of a checkpoint that carries an `nnssl_adaptation_plan`. Both find what they need in one file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medssl import __version__
from medssl.data.files import write, write_json
from medssl.export import learned
from medssl.models import sizes
from medssl.models.encoder import resenc
from medssl.models.weights import of_part
from medssl.types import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from medssl.export.learned import Learned

CHECKPOINT = "checkpoint_final.pth"
CLASS = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"  # by its whole path: a short name makes
# nnU-Net search a package that imports timm
CLASSES = 2  # of the fresh decoder; nnU-Net replaces the layers whose shape depends on it
CITATIONS = {
    "Architecture": (
        "ResEnc",
        "Isensee, F., Wald, T., Ulrich, C., et al. (2024). nnU-Net revisited: A call for rigorous validation in 3D "
        "medical image segmentation. MICCAI.",
    ),
    "Pretraining Method": (
        "DiRA",
        "Haghighi, F., Hosseinzadeh Taher, M. R., Gotway, M. B., & Liang, J. (2022). DiRA: Discriminative, "
        "restorative, and adversarial learning for self-supervised medical image analysis. CVPR.",
    ),
}
README = """# Pretrained weights for nnU-Net

Made by medssl {version} (`medssl {verb}`, step {step}): nnU-Net's residual encoder with {stages} stages,
{channels} input channel(s), trained on patches of {size} voxels (spacing {spacing}).

**The decoder is fresh.** medssl's own decoder has another architecture, so that nnU-Net's, which its
`-pretrained_weights` asks for, was drawn at random. Only the encoder was pretrained.

Released nnU-Net (checked with 2.8.1); the plans must have the same number of stages, kernels and input channels:

```
nnUNetv2_plan_and_preprocess -d ID -pl nnUNetPlannerResEncM
nnUNetv2_train ID 3d_fullres FOLD -p nnUNetResEncUNetMPlans -pretrained_weights {checkpoint}
```

nnU-Net's development branch adapts channels and stages:

```
nnUNetv2_preprocess_like_nnssl -d ID -n medssl -pc {checkpoint} -am like_pretrained
nnUNetv2_train_pretrained ID 3d_fullres FOLD -p PLANS
```
{note}
The three files of this folder have the names that nnU-Net looks for in a repository of the Hugging Face Hub.
"""
ZSCORE = """
That route normalises images by mean and standard deviation, whatever the plans say. These weights saw the preset
`{preset}`, {values}: the first route keeps nnU-Net's own normalisation, which is closer for CT.
"""


def export(
    run: Path, out: Path, *, patch: list[int] | None = None, citations: list[dict[str, Any]] | None = None
) -> Path:
    """Write a run's residual encoder, in a network of nnU-Net's with a fresh decoder, into `out`; returns `out`.

    Args:
        run: a run directory or checkpoint.
        out: a new folder.
        patch: the patch size to recommend for fine-tuning; default: that of the run.
        citations: further ones for nnU-Net to print, each with type, name and apa_citations.

    Raises:
        InputError: nnU-Net has no such encoder, the stages do not divide `patch`, or `out` is taken.
    """
    found = learned.read(run)
    _refuse(found)
    network = _network(found)
    plan = _plan(found, patch or list(found.size()))
    content = {
        "network_weights": dict(network.state_dict()),
        "nnssl_adaptation_plan": plan,
        "trainer_name": "medssl",
        "citations": [*_citations(found), *(citations or [])],
    }
    with learned.folder(out) as folder:
        torch.save(content, folder / CHECKPOINT)
        write_json(folder / "adaptation_plan.json", {**plan, "trainer_name": "medssl"})
        write_json(folder / "config.json", found.config())
        write(folder / "README.md", _readme(found))
    return folder


def load(folder: Path) -> dict[str, Tensor]:
    """The tensors of an exported encoder, by name."""
    content = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)["network_weights"]
    return of_part(content, "encoder")


def _refuse(found: Learned) -> None:
    settings = found.content["recipe"]["encoder"]
    other = "or export --to monai_bundle, huggingface or torch_export"
    if settings["kind"] != "resenc":
        raise InputError(
            f"nnU-Net has no encoder like {settings['kind']}: pretrain with encoder.kind=resenc "
            f"(recipe dira_resenc_3d), {other}"
        )
    if settings.get("norm", "instance") != "instance":
        raise InputError(
            f"nnU-Net's encoder has instance norm, this one {settings['norm']}: pretrain with encoder.norm=instance, "
            f"{other}"
        )


def _arguments(found: Learned) -> dict[str, Any]:
    """What nnU-Net's plans say of the architecture, as plain values."""
    settings, dims = found.content["recipe"]["encoder"], found.recipe.spatial_dims
    given: dict[str, Any] = {k: settings[k] for k in ("preset", "stages", "strides", "kernels") if k in settings}
    shape = resenc.layout(dims, **given)
    count = len(shape.channels)
    return {
        "n_stages": count,
        "features_per_stage": list(shape.channels),
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [list(kernel) for kernel in shape.kernels],
        "strides": [list(step) for step in shape.steps],
        "n_blocks_per_stage": list(resenc.BLOCKS[:count]),
        "n_conv_per_stage_decoder": [1] * (count - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]  # arguments that name a class


def _network(found: Learned) -> nn.Module:
    """nnU-Net's network with our encoder and a fresh decoder."""
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    arguments = _arguments(found)
    for key in IMPORTED:
        if arguments[key] is not None:
            arguments[key] = getattr(torch.nn, arguments[key].rpartition(".")[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = ResidualEncoderUNet(
            input_channels=found.recipe.channels, num_classes=CLASSES, deep_supervision=True, **arguments
        )
        network.apply(ResidualEncoderUNet.initialize)
    network.get_submodule("encoder").load_state_dict(found.parts["encoder"])
    return network


def _plan(found: Learned, patch: list[int]) -> dict[str, Any]:
    """The adaptation plan, in plain values: nnU-Net opens the file with weights_only=True."""
    sizes.check(patch, found.divisor(), "patch")
    spacing = found.preprocessing["spacing"]
    fixed = isinstance(spacing, list)
    name = "noresample" if not fixed else "onemmiso" if spacing == [1.0, 1.0, 1.0] else "fixed"
    configuration = {
        "data_identifier": f"medssl_{found.preprocessing['preset']}",
        "spacing": spacing if fixed else None,
        "spacing_style": name,
        "patch_size": list(found.size()),
    }
    return {
        "architecture_plans": {
            "arch_class_name": CLASS,
            "arch_kwargs": _arguments(found),
            "arch_kwargs_requiring_import": list(IMPORTED),
        },
        "pretrain_plan": {"dataset_name": "medssl", "plans_name": "medssl", "configurations": {name: configuration}},
        "pretrain_num_input_channels": found.recipe.channels,
        "recommended_downstream_patchsize": [int(n) for n in patch],
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }


def _citations(found: Learned) -> list[dict[str, Any]]:
    wanted = ["Architecture", *(["Pretraining Method"] if found.content["recipe"].get("restore") else [])]
    return [{"type": kind, "name": CITATIONS[kind][0], "apa_citations": [CITATIONS[kind][1]]} for kind in wanted]


def _readme(found: Learned) -> str:
    preset, window, spacing = (found.preprocessing[key] for key in ("preset", "window", "spacing"))
    values = f"a window of {window} mapped to [0, 1]" if window else "each image's range mapped to [0, 1]"
    return README.format(
        version=__version__,
        verb=found.content["verb"],
        step=found.content["state"]["step"],
        stages=_arguments(found)["n_stages"],
        channels=found.recipe.channels,
        size=" x ".join(map(str, found.size())),
        spacing=" x ".join(f"{mm:g}" for mm in spacing) + " mm" if isinstance(spacing, list) else "as stored",
        checkpoint=CHECKPOINT,
        note=ZSCORE.format(preset=preset, values=values),
    )
