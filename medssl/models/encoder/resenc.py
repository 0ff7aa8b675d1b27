"""nnU-Net's residual encoder (ResEnc), with nnU-Net's tensor names, so that weights can be exchanged both ways.

Arguments of `build`:
    spatial_dims, in_channels: supplied by medssl: axes and channels of the images.
    preset: "M", "L" or "XL", which set the number of stages. In 3D all three build the same network, in 2D L
        equals XL: nnU-Net's letters stand for GPU memory, which determines the patch size.
    stages: number of stages; replaces that of the preset.
    strides: of each stage, a number or one per axis, for anisotropic volumes: [1, [1, 2, 2], 2, ...].
    kernels: kernel sizes of each stage, a number or one per axis.
    norm: kind of norm.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medssl.models import norm as norms
from medssl.models import sizes
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.types import Features

BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6)  # residual blocks per stage

# nnU-Net's letters stand for GPU memory (8, 24, 40 GB), which determines the patch size; the patch size determines how
# often it can be halved down to 4 voxels. In 3D the usual patches (128 to 192) give six stages for every letter.
STAGES: dict[str, dict[int, int]] = {"M": {2: 7, 3: 6}, "L": {2: 8, 3: 6}, "XL": {2: 8, 3: 6}}


class ResEncEncoder(nn.Module):
    """Stem and stages of nnU-Net's ResidualEncoder; one level per stage, the finest at full resolution; see `build`."""

    def __init__(
        self, stem: nn.Module, stages: nn.Sequential, channels: list[int], steps: list[tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = stages
        self.channels = tuple(channels)
        self.strides = tuple(
            accumulate(steps, lambda total, step: tuple(a * b for a, b in zip(total, step, strict=True)))
        )
        self.divisor = self.strides[-1]

    def forward(self, x_BC: Tensor) -> Features:
        """(B,C,*S) -> one feature map per stage. Raises InputError if S is not a multiple of the total stride."""
        sizes.check(x_BC.shape[2:], self.divisor)
        x = self.stem(x_BC)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return tuple(features)


def _parts() -> tuple[Any, Any]:
    try:
        from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
        from dynamic_network_architectures.initialization import weight_init
    except ImportError as missing:
        raise InputError(
            f"encoder resenc needs dynamic-network-architectures ({missing}): "
            "pip install --no-deps dynamic-network-architectures"
        ) from missing
    return ResidualEncoder, weight_init


def build(
    *,
    spatial_dims: int,
    in_channels: int,
    preset: Literal["M", "L", "XL"] = "M",
    stages: int | None = None,
    strides: list[int | tuple[int, ...]] | None = None,
    kernels: list[int | tuple[int, ...]] | None = None,
    norm: norms.NormKind = "instance",
) -> ResEncEncoder:
    """nnU-Net's ResEnc (Isensee et al. 2024): channels 32, 64, 128, 256, 320, 320 (2D to 512), blocks 1, 3, 4, 6, 6, 6.

    Raises InputError for settings that contradict each other, and if the extra "resenc" is not installed.

    >>> build(spatial_dims=3, in_channels=1, stages=3).strides
    ((1, 1, 1), (2, 2, 2), (4, 4, 4))
    """
    residual_encoder, init = _parts()
    shape = layout(spatial_dims, preset=preset, stages=stages, strides=strides, kernels=kernels)
    net = residual_encoder(
        in_channels,
        len(shape.channels),
        shape.channels,
        Conv[Conv.CONV, spatial_dims],
        shape.kernels,
        shape.steps,
        BLOCKS[: len(shape.channels)],
        conv_bias=True,
        norm_op=lambda width, **_: norms.build(norm, spatial_dims, width),
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    net.apply(init.InitWeights_He(1e-2))
    net.apply(init.init_last_bn_before_add_to_0)
    return ResEncEncoder(net.stem, net.stages, shape.channels, shape.steps)


class Layout(NamedTuple):
    """What each stage is: its channels, kernel and stride, one number per axis."""

    channels: list[int]
    kernels: list[tuple[int, ...]]
    steps: list[tuple[int, ...]]


def layout(
    spatial_dims: int,
    *,
    preset: str = "M",
    stages: int | None = None,
    strides: Sequence[int | Sequence[int]] | None = None,
    kernels: Sequence[int | Sequence[int]] | None = None,
) -> Layout:
    """The stages that `build` makes of these arguments. Raises `InputError` where they contradict each other."""
    count = len(strides) if strides else stages or STAGES[preset][spatial_dims]
    steps = [sizes.per_axis(s, spatial_dims) for s in strides or [1, *[2] * (count - 1)]]
    kernel_sizes = [sizes.per_axis(k, spatial_dims) for k in kernels or [3] * count]
    _check_stages(count, stages, kernel_sizes, steps, spatial_dims)
    return Layout([min(320 if spatial_dims == 3 else 512, 32 * 2**i) for i in range(count)], kernel_sizes, steps)


def _check_stages(
    count: int, stages: int | None, kernels: list[tuple[int, ...]], steps: list[tuple[int, ...]], spatial_dims: int
) -> None:
    if not 2 <= count <= len(BLOCKS):
        raise InputError(f"resenc has {count} stages: give 2 to {len(BLOCKS)}")
    if stages is not None and stages != count:
        raise InputError(
            f"resenc has stages={stages}, but {count} strides: give one stride per stage, or leave out stages"
        )
    if len(kernels) != count:
        raise InputError(f"resenc has {len(kernels)} kernels, but {count} stages: give one kernel per stage")
    if any(len(axes) != spatial_dims for axes in [*kernels, *steps]):
        raise InputError(f"resenc: strides and kernels that differ between axes need {spatial_dims} numbers each")
