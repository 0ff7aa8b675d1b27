"""The adversarial branch: a discriminator that tells reconstructions from clean views."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssl import losses
from medssl.models.discriminator import PatchDiscriminator
from medssl.types import Losses

WIDTHS = {2: 64, 3: 32}  # channels of the first layer


class Adversary(nn.Module):
    """Main loss "adversarial" reaches the reconstruction alone, rival loss "discriminator" the discriminator alone."""

    def __init__(self, discriminator: PatchDiscriminator, loss: losses.AdversarialKind) -> None:
        super().__init__()
        self.discriminator, self.loss = discriminator, loss

    def adversaries(self) -> dict[str, list[nn.Parameter]]:
        """The discriminator's parameters, by the name of its loss."""
        return {"discriminator": [p for p in self.discriminator.parameters() if p.requires_grad]}

    def forward(self, reconstruction_BC: Tensor, target_BC: Tensor) -> Losses:
        """Both losses of one batch; reconstruction and target pass the discriminator once each."""
        if not any(p.requires_grad for p in self.discriminator.parameters()):
            return Losses({"adversarial": losses.generator(self.discriminator(reconstruction_BC), self.loss)}, {})
        seen = reconstruction_BC.detach().requires_grad_(torch.is_grad_enabled())
        fake, real = self.discriminator(seen), self.discriminator(target_BC.to(reconstruction_BC))
        adversarial = losses.generator(fake, self.loss)
        if seen.requires_grad:
            # One pass serves both players: here the gradient goes back to what was judged and not into the weights,
            # which the rival loss reaches from the same activations later.
            with torch.autocast(seen.device.type, enabled=False):
                (gradient,) = torch.autograd.grad(adversarial, seen, retain_graph=True)
            adversarial = _Known.apply(reconstruction_BC, adversarial.detach(), gradient)
        return Losses({"adversarial": adversarial}, {"discriminator": losses.discriminator(real, fake, self.loss)})


class _Known(torch.autograd.Function):
    """A value whose gradient in x is known already."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grads[0]).to(gradient), None, None


def build(
    *,
    spatial_dims: int,
    in_channels: int,
    loss: losses.AdversarialKind = "least_squares",
    base_channels: int | Literal["auto"] = "auto",
    norm: Literal["instance", "group", "none"] = "instance",
) -> Adversary:
    """DiRA's patch discriminator and least-squares game, as released; the paper writes the log form.

    base_channels: auto is 64 in 2D, as released, and 32 in 3D, which was never released: a kernel of 3^3 has three
    times the weights of 3^2, and with half the channels judge and cost keep their size beside the restoration.
    """
    width = WIDTHS[spatial_dims] if base_channels == "auto" else base_channels
    return Adversary(PatchDiscriminator(spatial_dims, in_channels, width, norm), loss)
