"""Weights of other tools: recognised by the names of their tensors, and renamed to the names of our encoders.

The families and their names are listed in docs/import.md. What is recognised but cannot be loaded is refused by name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl.models.encoder import resenc, resnet
from medssl.models.weights import of_part
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "student.", "teacher.")
STEM = "encoder.stem.convs.0.conv.weight"  # of nnU-Net's residual encoder
PATCHES = "swinViT.patch_embed.proj.weight"
VIT = "a vision transformer, and medssl has no such encoder"


class Foreign(NamedTuple):
    """Recognised weights."""

    family: str
    encoder: dict[str, Any]  # settings of the encoder of ours that they fit
    tensors: dict[str, Tensor]  # by the names of that encoder
    left_out: list[str]  # names of the other tensors in the file
    may_miss: tuple[str, ...]  # parts of that encoder that files of this family may lack
    stem: str  # the tensor of that encoder whose second axis is the channels of the images
    channels: int
    spatial_dims: int


def recognise(given: Mapping[str, Tensor]) -> Foreign | None:
    """The family of weights, by the names of their tensors; None if it is none of those known here.

    Raises `InputError` for a family that medssl has no encoder for.
    """
    tensors = _without_prefix(given)
    _refuse(tensors)
    for find in (_resenc, _swin, _resnet):
        found = find(tensors)
        if found is not None:
            return found
    return None


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes that wrappers put before all, or nearly all, of their names."""
    names = dict(tensors)
    while True:
        common = [prefix for prefix in PREFIXES if sum(name.startswith(prefix) for name in names) > len(names) / 2]
        if not common:
            return names
        names = {name.removeprefix(common[0]): tensor for name, tensor in names.items()}


def _refuse(tensors: Mapping[str, Tensor]) -> None:
    def has(start: str) -> bool:
        return any(name.startswith(start) for name in tensors)

    said = None
    if has("eva.") or has("down_projection."):
        said = f"Primus (nnssl), {VIT}"
    elif has("embeddings.patch_embeddings.") or has("dinov2."):
        said = f"DINOv2 (such as RAD-DINO), {VIT}"
    elif has("cls_token") or (has("blocks.0.attn.") and has("patch_embed.")):
        said = VIT
    elif any(re.match(r"encoder\.stages\.\d+\.0\.convs\.", name) for name in tensors):
        said = "nnU-Net's plain convolutional encoder (PlainConvUNet); medssl has its residual encoder alone"
    if said is not None:
        raise InputError(
            f"these weights are of {said}: it loads nnU-Net's residual encoder (nnssl, OpenMind), SwinUNETR (VoCo, "
            "MONAI), and ResNet-18 and 50 (MedicalNet, MONAI, torchvision, timm)"
        )


def _resenc(tensors: Mapping[str, Tensor]) -> Foreign | None:
    if STEM not in tensors:
        return None
    stages = [f"encoder.stages.{i}.blocks.0.conv1.conv.weight" for i in range(len(resenc.BLOCKS))]
    kernels = [list(tensors[name].shape[2:]) for name in stages if name in tensors]
    blocks = tuple(
        len([n for n in tensors if re.fullmatch(rf"encoder\.stages\.{i}\.blocks\.\d+\.conv1\.conv\.weight", n)])
        for i in range(len(kernels))
    )
    if blocks != resenc.BLOCKS[: len(kernels)]:
        raise InputError(
            f"these weights are of a residual encoder with {list(blocks)} blocks: nnU-Net's has 1, 3, 4, 6"
        )
    settings: dict[str, Any] = {"kind": "resenc", "stages": len(kernels)}
    if any(set(kernel) != {3} for kernel in kernels):
        settings["kernels"] = kernels
    chosen = of_part(tensors, "encoder")
    left = [name for name in tensors if not name.startswith(("encoder.", "decoder.encoder."))]
    stem = tensors[STEM]
    said = "nnU-Net's residual encoder (nnssl, OpenMind)"
    return Foreign(said, settings, chosen, left, (), STEM.removeprefix("encoder."), stem.shape[1], stem.ndim - 2)


def _swin(tensors: Mapping[str, Tensor]) -> Foreign | None:
    names = {name: _swin_name(name) for name in tensors}
    patches = next((tensors[name] for name, ours in names.items() if ours == PATCHES), None)
    if patches is None or not any(ours.startswith("swinViT.layers1.") for ours in names.values()):
        return None
    kept = ("swinViT.", "encoder1.", "encoder2.", "encoder3.", "encoder4.", "encoder10.")
    chosen = {ours: tensors[name] for name, ours in names.items() if ours.startswith(kept) and "mask_token" not in ours}
    v2 = any(name.startswith("swinViT.layers1c.") for name in chosen)
    settings = {"kind": "swin_unetr", "feature_size": patches.shape[0], "use_v2": v2}
    left = [name for name, ours in names.items() if ours not in chosen]
    said = "SwinUNETR's encoder (VoCo, MONAI)"
    return Foreign(said, settings, chosen, left, kept[1:], PATCHES, patches.shape[1], patches.ndim - 2)


def _swin_name(name: str) -> str:
    """A name as MONAI's SwinUNETR has it; the releases differ in what stands before it and in the linear layers."""
    name = name.replace("swin_vit.", "swinViT.")
    name = re.sub(r"^encoder\.(layers\dc?\.0)\.0\.", r"swinViT.\1.", name)
    name = re.sub(r"^(?:encoder\.)?(patch_embed\.|layers\dc?\.)", r"swinViT.\1", name)
    if name.startswith("swinViT."):
        name = name.replace(".mlp.fc1.", ".mlp.linear1.").replace(".mlp.fc2.", ".mlp.linear2.")
    return name


def _resnet(tensors: Mapping[str, Tensor]) -> Foreign | None:
    if (
        "conv1.weight" not in tensors
        or "layer1.0.conv1.weight" not in tensors
        or "layer4.0.conv1.weight" not in tensors
    ):
        return None
    kind = "bottleneck" if "layer1.0.conv3.weight" in tensors else "basic"
    layers = [len({n.split(".")[1] for n in tensors if n.startswith(f"layer{i}.")}) for i in range(1, 5)]
    depth = next((depth for depth, known in resnet.BLOCKS.items() if known == (kind, layers)), None)
    if depth is None:
        raise InputError(
            f"these weights are of a ResNet with {layers} {kind} blocks: medssl has ResNet-18 and ResNet-50"
        )
    stem = tensors["conv1.weight"]
    dims = stem.ndim - 2
    shortcut = "B" if any(".downsample." in name for name in tensors) else "A"
    settings: dict[str, Any] = {"kind": "resnet", "depth": depth}
    settings |= {"shortcut": "A"} if shortcut == "A" else {}
    chosen = _folded({name: t for name, t in tensors.items() if name.startswith(("conv1.", "bn1.", "layer"))})
    left = [name for name in tensors if name not in chosen and not name.endswith("downsample.0.bias")]
    said = f"a {'3D ResNet (MedicalNet, MONAI)' if dims == 3 else '2D ResNet (torchvision, timm)'} of depth {depth}"
    return Foreign(said, settings, chosen, left, (), "conv1.weight", stem.shape[1], dims)


def _folded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A shortcut's bias, which MONAI may have and our encoder has not, goes into the mean of the norm that follows."""
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith("downsample.0.bias")}
    for name in tensors.keys() - found.keys():
        mean = name.replace("downsample.0.bias", "downsample.1.running_mean")
        if mean in found:
            found[mean] = found[mean] - tensors[name]
    return found
