"""The adversarial branch: a discriminator that tells reconstructions from clean views."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from medssl import losses
from medssl.models.discriminator import PatchDiscriminator
from medssl.types import Losses


class Adversary(nn.Module):
    """Main loss "adversarial" reaches the reconstruction alone, rival loss "discriminator" the discriminator alone."""

    def __init__(self, discriminator: nn.Module, loss: losses.AdversarialKind) -> None:
        super().__init__()
        self.discriminator, self.loss = discriminator, loss

    def forward(self, reconstruction_BC: Tensor, target_BC: Tensor) -> Losses:
        """Both losses of one batch; the reconstruction passes the discriminator twice, once in each."""
        adversarial = losses.generator(self._frozen(reconstruction_BC), self.loss)
        if not any(p.requires_grad for p in self.discriminator.parameters()):
            return Losses({"adversarial": adversarial}, {})
        both = torch.cat([target_BC.to(reconstruction_BC), reconstruction_BC.detach()])
        real, fake = self.discriminator(both).chunk(2)
        return Losses({"adversarial": adversarial}, {"discriminator": losses.discriminator(real, fake, self.loss)})

    def _frozen(self, x_BC: Tensor) -> Tensor:
        """The discriminator's judgement, without gradient into its parameters."""
        state = {k: p.detach() for k, p in self.discriminator.named_parameters()}
        return functional_call(self.discriminator, state, (x_BC,))


def build(
    *,
    spatial_dims: int,
    in_channels: int,
    loss: losses.AdversarialKind = "least_squares",
    base_channels: int = 64,
    norm: Literal["instance", "group", "none"] = "instance",
) -> Adversary:
    """DiRA's patch discriminator and least-squares game, as released; the paper writes the log form."""
    return Adversary(PatchDiscriminator(spatial_dims, in_channels, base_channels, norm), loss)
