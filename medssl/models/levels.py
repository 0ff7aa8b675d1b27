"""The level of an encoder to which each parameter belongs, found from gradients, so that it works for any encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


def of_parameters(encoder: nn.Module, x_BC: Tensor) -> dict[str, int]:
    """The level of each parameter: the finest level whose features of `x_BC` (B,C,*S) depend on it; 0 is the finest.

    A parameter that no level depends on is counted to the deepest. Values are not needed: the meta device works.
    """
    with torch.enable_grad():
        features = encoder(x_BC)
    found = {name: len(features) - 1 for name, _ in encoder.named_parameters()}
    rest = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    for level, x in enumerate(features):
        if not rest:
            break
        grads = torch.autograd.grad(x.sum(), list(rest.values()), retain_graph=True, allow_unused=True)
        reached = [name for name, grad in zip(rest, grads, strict=True) if grad is not None]
        found |= dict.fromkeys(reached, level)
        rest = {name: p for name, p in rest.items() if name not in reached}
    return found
