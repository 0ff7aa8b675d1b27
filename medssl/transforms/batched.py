"""The batched backend: what was drawn for each sample of a batch, applied on whatever device the batch lies on.

The same draws give the same images as the transforms' own `apply`, to 1e-3. A transform that has no twin here
(local shuffling, stain matching, Macenko's stains) is applied sample by sample on the CPU, and brought back.
Shapes: x (B,C,*S) float32 in [0,1], before a window jitter also beyond; `drawn` holds the parameters of each sample,
None where nothing happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import pad

from medssl.transforms import corrupt, distort, intensity, shuffle, stain, window
from medssl.transforms.boxes import within
from medssl.transforms.filters import ENTRIES, gaussian
from medssl.transforms.noise import block_seed, normal_table, uniform_noise, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from medssl.transforms.base import Params, RandTransform

    Twin = Callable[[Any, Tensor, list[Params]], Tensor]


def apply(transform: RandTransform, x: Tensor, drawn: Sequence[Params | None]) -> Tensor:
    """Change the samples of `x` as drawn; `x` itself is left as it is."""
    at = [i for i, params in enumerate(drawn) if params is not None]
    if not at:
        return x
    params = [p for p in drawn if p is not None]
    x = x.clone()
    estimates = isinstance(transform, stain.RandStainJitterd) and transform.stains != "hed"
    twin = _one_by_one if estimates else TWINS.get(type(transform), _one_by_one)
    x[at] = twin(transform, x[at], params)
    return x


def _one_by_one(transform: RandTransform, x: Tensor, drawn: list[Params]) -> Tensor:
    images = [transform.apply(image, params) for image, params in zip(x.cpu().numpy(), drawn, strict=True)]
    return torch.from_numpy(np.stack(images)).to(x.device)


def _column(values: Sequence[float], x: Tensor) -> Tensor:
    """Numbers, one a sample, shaped to go along with x."""
    return torch.tensor(values, dtype=torch.float32, device=x.device).reshape(-1, *[1] * (x.ndim - 1))


def _gamma(transform: intensity.RandGammad, x: Tensor, drawn: list[Params]) -> Tensor:
    return x.clamp(0, 1) ** _column([p["gamma"] for p in drawn], x)


def _tone(transform: intensity.Curve, x: Tensor, drawn: list[Params]) -> Tensor:
    entries = np.linspace(0, 1, ENTRIES) ** 2
    curves = np.stack([transform.curve(p)(entries) for p in drawn])
    tables = torch.as_tensor(curves, dtype=torch.float32, device=x.device)
    at = x.flatten(1).clamp(0, 1).sqrt() * (ENTRIES - 1)
    near = at.long().clamp(max=ENTRIES - 2)
    low, high = tables.gather(1, near), tables.gather(1, near + 1)
    return (low + (at - near) * (high - low)).reshape(x.shape)


def _window(transform: window.RandWindowJitterd, x: Tensor, drawn: list[Params]) -> Tensor:
    low, high = _column([p["low"] for p in drawn], x), _column([p["high"] for p in drawn], x)
    return ((x - low) / (high - low)).clamp(0, 1)


def _bias(transform: intensity.RandBiasFieldd, x: Tensor, drawn: list[Params]) -> Tensor:
    field = torch.as_tensor(np.stack([p["coefficients"] for p in drawn]), dtype=torch.float32, device=x.device)
    for size in x.shape[2:]:  # contract the first axis of coefficients, and put that of voxels last
        basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, size), field.shape[1] - 1)
        field = torch.tensordot(field, torch.as_tensor(basis.T, dtype=torch.float32, device=x.device), ([1], [0]))
    largest = field.flatten(1).abs().amax(1).clamp(min=1e-6).reshape(-1, *[1] * (field.ndim - 1))
    strength = _column([p["strength"] for p in drawn], field)
    return (x * (field * strength / largest).exp()[:, None]).clamp(0, 1)


def _blur_noise(transform: intensity.RandBlurNoised, x: Tensor, drawn: list[Params]) -> Tensor:
    blurred = [i for i, p in enumerate(drawn) if p["sigma"] > 0]
    noisy = [i for i, p in enumerate(drawn) if p["std"] > 0]
    x = x.clone()
    if blurred:
        x[blurred] = _blur(x[blurred], [drawn[i]["sigma"] for i in blurred])
    for i in noisy:
        x[i] = (x[i] + _normal(x[i], drawn[i]["seed"]) * drawn[i]["std"]).clamp(0, 1)
    return x


def _blur(x: Tensor, sigmas: list[float]) -> Tensor:
    weights = [gaussian(sigma) for sigma in sigmas]
    radius = max(map(len, weights)) - 1
    sides = torch.stack([pad(torch.from_numpy(w), (0, radius + 1 - len(w))) for w in weights]).to(x.device)
    shape = (-1, *[1] * (x.ndim - 1))
    for axis in range(2, x.ndim):
        index = torch.arange(-radius, x.shape[axis] + radius, device=x.device).clamp(0, x.shape[axis] - 1)
        wide, size = x.index_select(axis, index), x.shape[axis]
        total = sides[:, 0].reshape(shape) * x
        for k in range(1, radius + 1):
            pair = wide.narrow(axis, radius - k, size) + wide.narrow(axis, radius + k, size)
            total = total + sides[:, k].reshape(shape) * pair
        x = total
    return x


def _normal(x: Tensor, seed: int) -> Tensor:
    """Noise of unit variance, voxel for voxel that of `noise.add_noise`."""
    low, high = (int(word) for word in words(seed))
    counter = torch.arange(x.numel(), device=x.device)
    bits = _mix32(_mix32(counter ^ low) ^ high)
    return torch.from_numpy(normal_table()).to(x.device)[bits >> 20].reshape(x.shape)


def _mix32(state: Tensor) -> Tensor:
    """`noise._mix32` in 64-bit integers."""
    m = ((state ^ (state >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    m = ((m ^ (m >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return m ^ (m >> 16)


def _stain(transform: stain.RandStainJitterd, x: Tensor, drawn: list[Params]) -> Tensor:
    parts = [transform.mixing(stain.HED, p) for p in drawn]
    mixing = torch.as_tensor(np.stack([m for m, _ in parts]), dtype=torch.float32, device=x.device)
    shift = torch.as_tensor(np.stack([s for _, s in parts]), dtype=torch.float32, device=x.device)
    density = -x.clamp(min=stain.DARKEST).log()
    mixed = torch.einsum("bij,biyx->bjyx", mixing, density) + shift[:, :, None, None]
    return (-mixed).exp().clamp(0, 1)


def _cutout(transform: corrupt.RandCutoutd, x: Tensor, drawn: list[Params]) -> Tensor:
    x = x.clone()
    for image, params in zip(x, drawn, strict=True):
        for number, box in enumerate(params["boxes"]):
            block = image[within(box)]
            block[...] = _filling(transform, tuple(block.shape), block_seed(params["seed"], number), x)
    return x


def _outpaint(transform: corrupt.RandOutpaintd, x: Tensor, drawn: list[Params]) -> Tensor:
    changed = torch.stack([_filling(transform, tuple(x.shape[1:]), p["seed"], x).expand(x.shape[1:]) for p in drawn])
    for image, original, params in zip(changed, x, drawn, strict=True):
        for box in params["boxes"]:
            image[within(box)] = original[within(box)]
    return changed


def _filling(transform: corrupt.RandCutoutd, shape: tuple[int, ...], seed: int, x: Tensor) -> Tensor:
    if transform.fill == "noise":
        return torch.from_numpy(uniform_noise(shape, seed)).to(x.device)
    return torch.tensor(float(transform.fill), device=x.device)


def _swap(transform: shuffle.RandPatchSwapd, x: Tensor, drawn: list[Params]) -> Tensor:
    changed = x.clone()
    for image, original, params in zip(changed, x, drawn, strict=True):
        for a, b in params["boxes"]:
            image[within(a)] = original[within(b)]
            image[within(b)] = original[within(a)]
    return changed


def _mask(transform: corrupt.RandMaskBlocksd, x: Tensor, drawn: list[Params]) -> Tensor:
    masks = np.stack([transform.mask(tuple(x.shape[1:]), p) for p in drawn])
    return x.masked_fill(torch.from_numpy(masks).to(x.device), float(transform.fill))


def _remap(transform: distort.RandRemapd, x: Tensor, drawn: list[Params]) -> Tensor:
    return _tone(transform.curve, x, drawn)


def _one_of(transform: distort.RandOneOfd, x: Tensor, drawn: list[Params]) -> Tensor:
    for number, choice in enumerate(transform.choices):
        x = apply(choice, x, [p["params"] if p["choice"] == number else None for p in drawn])
    return x


def _chain(transform: distort.RandChaind, x: Tensor, drawn: list[Params]) -> Tensor:
    for number, step in enumerate(transform.steps):
        x = apply(step, x, [p["steps"][number] for p in drawn])
    return x


TWINS: dict[type, Twin] = {
    intensity.RandGammad: _gamma,
    intensity.RandBezierIntensityd: _tone,
    intensity.RandHistogramShiftd: _tone,
    window.RandWindowJitterd: _window,
    intensity.RandBiasFieldd: _bias,
    intensity.RandBlurNoised: _blur_noise,
    stain.RandStainJitterd: _stain,
    corrupt.RandCutoutd: _cutout,
    corrupt.RandInpaintd: _cutout,
    corrupt.RandOutpaintd: _outpaint,
    shuffle.RandPatchSwapd: _swap,
    corrupt.RandMaskBlocksd: _mask,
    distort.RandRemapd: _remap,
    distort.RandOneOfd: _one_of,
    distort.RandChaind: _chain,
}
