"""Laws of encoders: features have the stated channels and strides, and all parameters can be trained."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from medssl.kinds import named
from medssl.models import sizes
from medssl.testing import laws
from medssl.testing.laws import law, sentence
from medssl.types import Encoder, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

BATCH, STEPS = 2, 3


def check_encoder(
    encoder: str | ModuleType | Callable[..., Any],
    /,
    *,
    spatial_dims: Sequence[int] = (2, 3),
    in_channels: Sequence[int] = (1, 3),
    **settings: Any,
) -> None:
    """Check an encoder in each of `spatial_dims`. Raises `LawError`.

    - It is a torch module with the interface of `medssl.types.Encoder`.
    - There is one feature map per level with the stated `channels` and `strides`, for each of `in_channels`.
    - Image sizes not divisible by `divisor` raise an `InputError`.
    - Every parameter gets a non-zero gradient from the features of all levels within three steps, except for those
      that a normalisation cancels.
    - A state dict loaded into a new encoder gives the same features; in evaluation mode an image has the same features
      alone as in a batch.

    Args:
        encoder: the encoder: a kind, a module or a `build`.
        spatial_dims, in_channels: numbers of axes and of image channels to check.
        settings: passed to `build`.
    """
    build = laws.build_of("encoder", encoder)

    def made(dims: int, channels: int, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        built: nn.Module = build(**settings, **named(build, {"spatial_dims": dims, "in_channels": channels}))
        return built

    for dims in spatial_dims:
        for channels in in_channels:
            with laws.within(f"an encoder of {channels} channels in {dims}D can be built"):
                net = made(dims, channels)
            laws.interface(net, Encoder, "an encoder")
            size = _size(net, dims)
            _check_features(net, torch.rand(BATCH, channels, *size))
        _check_divisor(net, channels, size)
        _check_gradients(net, torch.rand(BATCH, channels, *size))
        _check_state(net, made(dims, channels, seed=1), torch.rand(BATCH, channels, *size))


def _size(net: Any, dims: int) -> tuple[int, ...]:
    """An image size that the encoder accepts, with more than one voxel at the deepest level."""
    deepest, divisor = (sizes.per_axis(stride, dims) for stride in (net.strides[-1], net.divisor))
    sides = [-(-max(s, d) // d) * d for s, d in zip(deepest, divisor, strict=True)]
    return (2 * sides[0], *sides[1:])


def _check_features(net: Any, x: torch.Tensor) -> None:
    size = tuple(x.shape[2:])
    levels = len(net.channels), len(net.strides)
    law("channels and strides are one per level", levels[0] == levels[1], f"{levels[0]} channels, {levels[1]} strides")
    with torch.no_grad(), laws.within(f"sides {list(size)}, which divisor {net.divisor} divides, are taken"):
        found = [tuple(feature.shape) for feature in net(x)]
    strides = [sizes.per_axis(stride, len(size)) for stride in net.strides]
    stated = [
        (len(x), channels, *(-(-n // s) for n, s in zip(size, stride, strict=True)))
        for channels, stride in zip(net.channels, strides, strict=True)
    ]
    law("feature maps have the stated channels and strides", found == stated, f"{found} of {list(size)}, not {stated}")
    finer = [all(a <= b for a, b in zip(*pair, strict=True)) for pair in pairwise(strides)]
    law("levels go from fine to coarse", all(finer), f"strides {net.strides}")


def _check_divisor(net: Any, channels: int, size: tuple[int, ...]) -> None:
    divisor = sizes.per_axis(net.divisor, len(size))
    name = "sides that divisor does not divide are refused with an InputError"
    for axis in [axis for axis, d in enumerate(divisor) if d > 1]:
        odd = tuple(n + (i == axis) for i, n in enumerate(size))
        with laws.within(name):
            try:
                net(torch.rand(BATCH, channels, *odd))
            except InputError:
                continue
        law(name, False, f"{list(odd)} were taken")


def _check_gradients(net: nn.Module, x: torch.Tensor) -> None:
    optimizer, alive = torch.optim.SGD(net.parameters(), 1e-3), set()
    for step in range(STEPS):
        net.zero_grad()
        draw = torch.Generator().manual_seed(step)
        sum((f * torch.randn(f.shape, generator=draw)).mean() for f in net.train()(x)).backward()
        alive |= laws.alive(net, 0.0)  # a last norm with initial scale 0 passes little gradient at first
        optimizer.step()
    dead = {name for name, p in net.named_parameters() if p.requires_grad} - alive
    law("every parameter gets a gradient that is not zero", not dead, f"none reached {sentence(dead)}")


def _check_state(net: nn.Module, other: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        both, one = net.eval()(x), net(x[:1])
        with laws.within("a state dict fits a new encoder"):
            other.load_state_dict(net.state_dict())
        again = other.eval()(x)
    for level, (a, b, c) in enumerate(zip(both, again, one, strict=True)):
        said = f"level {level} differs by {float((a - b).abs().max()):.3g}"
        law("a state dict that is loaded into a new encoder gives the same features", torch.allclose(a, b), said)
        gap = float((a[:1] - c).abs().max())
        same = gap <= 1e-4 * max(1.0, float(a.abs().max()))
        law("an image has the same features alone as in a batch", same, f"level {level} differs by {gap:.3g}")
