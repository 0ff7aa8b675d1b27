"""How much memory a training step takes, estimated without making one: what autograd would keep, on shapes alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from medssl.build import parts
from medssl.data.parallel import machine
from medssl.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from medssl.recipe import PretrainRecipe

GIB = 2**30
HALF = 0.6  # bf16 keeps most activations in two bytes instead of four
ROOM = 1.5  # for what is made and dropped again within a step: gradients of activations, copies, workspaces
STATES = 4  # of each weight: itself, its gradient and two moments
IMPORTS = 0.5 * GIB  # torch and medssl themselves; on CUDA, the context


class Cost(NamedTuple):
    """Bytes of a step: `fixed` and `sample` for each sample of the batch."""

    fixed: float
    sample: float

    def of(self, batch: int) -> float:
        """Bytes of a step of `batch` samples."""
        return self.fixed + batch * self.sample


def cost(recipe: PretrainRecipe) -> Cost:
    """What a step of a recipe takes. Raises InputError for one that cannot be built."""
    made = parts.validate(recipe)
    net, views = made.pretext, made.views
    images = {size: torch.empty(2, recipe.channels, *size, device="meta") for size in views.sizes}
    encoded = {size: kept(net.encoder, image) for size, image in images.items()}
    first = views.sizes[0]
    two = sum(encoded[size] for size in views.sizes)
    if net.restore is not None:
        two += kept(net.reconstruct, images[first])
        two -= 0 if views.apart else encoded[first]  # apart: what is restored is encoded beside view 0
        if net.adversary is not None:
            two += 2 * kept(net.adversary.discriminator, images[first])
    weights = sum(parameter.numel() * 4 for parameter in net.parameters())
    scale = HALF if recipe.train.precision == "bf16" else 1.0
    return Cost(IMPORTS + STATES * weights, ROOM * scale * two / 2)


def kept(network: Any, image: Tensor) -> float:
    """Bytes that autograd keeps of a forward pass, weights left out."""
    found: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            found[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(image)
    return float(sum(tensor.untyped_storage().nbytes() for tensor in found.values()))


def available(device: str) -> float:
    """Bytes of the device: of the smallest CUDA device, or of this machine. Raises InputError if that is unknown."""
    if device == "cuda":
        return float(min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())))
    found = machine.memory()
    if math.isnan(found):
        raise InputError(
            "this system does not tell how much memory it has: give it in GiB with --memory, e.g. --memory 8"
        )
    return found
