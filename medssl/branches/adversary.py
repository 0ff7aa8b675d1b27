"""The adversarial branch: a discriminator that tells reconstructions from uncorrupted views."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssl import losses
from medssl.models.discriminator import PatchDiscriminator
from medssl.types import Losses

WIDTHS = {2: 64, 3: 32}  # channels of the first layer


class Adversary(nn.Module):
    """The loss "adversarial" has a gradient in the reconstruction only, "discriminator" in the discriminator only."""

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
            # One pass serves both losses: here the gradient flows to the judged images, not into the weights, which
            # the discriminator's loss reaches later from the same activations.
            with torch.autocast(seen.device.type, enabled=False):
                (gradient,) = torch.autograd.grad(adversarial, seen, retain_graph=True)
            adversarial = _Known.apply(reconstruction_BC, adversarial.detach(), gradient)
        return Losses({"adversarial": adversarial}, {"discriminator": losses.discriminator(real, fake, self.loss)})


class _Known(torch.autograd.Function):
    """A value whose gradient with respect to x was computed before."""

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
    """DiRA's patch discriminator with least-squares losses, as in its published code; the paper writes the log form.

    Args:
        spatial_dims, in_channels: supplied by medssl: axes and channels of the images.
        loss: "least_squares" or "hinge".
        base_channels: channels of the first layer. "auto" is 64 in 2D, as published, and 32 in 3D, for which nothing
            was published: a 3^3 kernel has three times the weights of a 3^2 one, and half the channels keep the
            discriminator small beside the restoration, in weights and time.
        norm: "instance", "group" or "none".

    >>> sum(p.numel() for p in build(spatial_dims=2, in_channels=1).parameters())
    1554433
    """
    width = WIDTHS[spatial_dims] if base_channels == "auto" else base_channels
    return Adversary(PatchDiscriminator(spatial_dims, in_channels, width, norm), loss)
