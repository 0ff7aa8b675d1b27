"""Toy examples of the methods: bank, queue, cross-correlation, collapse. Drawn by docs/figures.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure  # no pyplot: no global state, no window
from matplotlib.patches import Circle
from torch import nn
from torch.nn.functional import cosine_similarity, normalize

from medssl import losses
from medssl.methods import adco, base, keys, moco_v2, simsiam
from medssl.models.encoder import tiny
from medssl.types import Views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, BLUE, RED, GRAY = "#1c2733", "#1f6fb2", "#c8402f", "#9aa5b0"


def adco_bank() -> Figure:
    """Learned negatives on the circle: steps of the bank with fixed queries."""
    rng = np.random.default_rng(0)
    angle = torch.from_numpy(rng.normal([0.6, 2.4], 0.12, (6, 2)).flatten()).float()
    q = torch.stack([angle.cos(), angle.sin()], 1)
    views = Views((q[:, :, None, None],) * 2, q, q, torch.arange(len(q)), torch.arange(len(q)))
    points = nn.Module()
    points.forward = lambda x: (x,)
    method = _adco_on(points, negatives=14)
    optimizer = torch.optim.SGD(method.adversaries()["bank"], lr=3.0, momentum=0.9, weight_decay=1e-4)
    path = [normalize(method.bank.detach(), dim=1)]
    for _ in range(40):
        optimizer.zero_grad()
        sum(method(views, lambda v: (views.x[v],)).adversaries.values()).backward()
        optimizer.step()
        path.append(normalize(method.bank.detach(), dim=1))
    figure, axes = axes_of(1, 3, 8.4, 3.1)
    for axis, step in zip(axes, (0, 5, 40), strict=True):
        axis.add_patch(Circle((0, 0), 1, fill=False, color=GRAY, lw=1))
        trail = torch.stack(path[: step + 1]).numpy()
        radius = np.linspace(0.72, 1, len(trail))[:, None]
        for j in range(trail.shape[1]):
            axis.plot(*(trail[:, j] * radius).T, color=RED, lw=0.7, alpha=0.6)
        axis.scatter(*trail[-1].T, s=26, color=RED, zorder=3, label="learned negatives")
        axis.scatter(*q.T, s=34, marker="^", color=BLUE, zorder=4, label="queries")
        axis.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", title=f"after {step} steps of the bank")
    axes[0].legend(loc="center", frameon=False, fontsize=8)
    return figure


def _adco_on(points: nn.Module, negatives: int) -> adco.AdCo:
    key_encoder = keys.EMAEncoder(points, nn.Identity(), 0.999, False, 0)
    bank = normalize(keys.gaussian(negatives, 2, 3), dim=1)
    return adco.AdCo(nn.Identity(), key_encoder, bank, 0, 0.2, 0.2, True, None, False, "none")


def moco_queue() -> Figure:
    """Whose key is where: each step writes over the oldest rows."""
    encoder = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
    method = moco_v2.build(encoder=encoder, queue=24, dim=4, hidden=8)
    batch, rows = 5, []
    for step in range(14):
        x = torch.rand(batch, 1, 8, 8)
        ids = torch.arange(batch) + batch * step
        views = Views((x, x), x, x > 1, ids, ids)
        method(views, lambda v, x=x: encoder(x))
        method.after_step(encoder)
        born = torch.where(method.sample < 0, torch.nan, (method.sample // batch).double())
        rows.append(step - born)
    figure, (left, right) = axes_of(1, 2, 8.4, 2.9, width_ratios=[1.5, 1])
    image = left.imshow(torch.stack(rows), cmap="viridis_r", aspect="auto", interpolation="nearest")
    left.set(xlabel="row of the queue (K = 24)", ylabel="step", title="age of each key, in steps (batch 5)")
    figure.colorbar(image, ax=left)
    n = np.arange(5001)
    for momentum, colour in ((0.999, BLUE), (0.99, RED)):
        right.semilogx(n[1:], momentum ** n[1:], color=colour, label=f"m = {momentum}")
    right.set(xlabel="steps", title="what is left of a gap\nbetween key and query encoder")
    right.legend(frameon=False)
    _ticks(left, right)
    return figure


def barlow_matrix() -> Figure:
    """The cross-correlation of two noisy views, before and after a linear projector has learned."""
    torch.manual_seed(0)
    source, mix = torch.randn(512, 16), torch.randn(16, 32)
    views = [source @ mix + 0.5 * torch.randn(512, 32) for _ in range(2)]
    projector = nn.Linear(32, 16)
    optimizer = torch.optim.Adam(projector.parameters(), lr=1e-2)
    matrices = []
    for step in range(401):
        a, b = (projector(v) for v in views)
        if step in (0, 400):
            matrices.append(losses.cross_correlation(a, b).detach())
        optimizer.zero_grad()
        losses.barlow_twins(a, b, 0.0051 * 8).backward()
        optimizer.step()
    figure, axes = axes_of(1, 2, 6.2, 2.8)
    for axis, matrix, title in zip(axes, matrices, ("at the start", "after 400 steps"), strict=True):
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(f"C {title}")
    figure.colorbar(image, ax=list(axes))
    return figure


def simsiam_collapse() -> Figure:
    """The same toy twice: with the stopped gradient of the method, and with the gradient let through."""
    figure, axes = axes_of(1, 3, 8.4, 2.6)
    for stopped, colour in ((True, BLUE), (False, RED)):
        label = "gradient stopped (SimSiam)" if stopped else "gradient not stopped"
        for axis, values in zip(axes, zip(*_siamese(stopped), strict=True), strict=True):
            axis.plot(values, color=colour, lw=1, label=label)
    for axis, title in zip(axes, ("loss", "embedding_std", "effective_rank"), strict=True):
        axis.set(xlabel="step", title=title)
        axis.set_ylim(-1 if title == "loss" else 0)
    axes[1].axhline(16**-0.5, color=GRAY, ls="--", lw=1)
    axes[2].legend(frameon=False, fontsize=8)
    _ticks(*axes)
    return figure


class _Linear(nn.Linear):
    channels = (16,)


def _siamese(stopped: bool) -> list[tuple[float, float, float]]:
    """Loss, deviation and rank of each step, with the heads of the method on a linear encoder of noisy vectors."""
    torch.manual_seed(0)
    encoder = _Linear(32, 16)
    method = simsiam.build(encoder=encoder, batch=64, hidden=32, dim=16, bottleneck=8)
    optimizer = torch.optim.SGD([*encoder.parameters(), *method.parameters()], lr=0.1, momentum=0.9, weight_decay=1e-4)
    source, found = torch.randn(512, 32), []
    for _ in range(400):
        chosen = source[torch.randint(512, (64,))]
        z1, z2 = (method.projector(encoder(chosen + torch.randn(64, 32))) for _ in range(2))
        p1, p2 = method.predictor(z1), method.predictor(z2)
        if stopped:
            loss = (losses.negative_cosine(p1, z2) + losses.negative_cosine(p2, z1)) / 2
        else:
            loss = -(cosine_similarity(p1, z2) + cosine_similarity(p2, z1)).mean() / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        health = base.collapse_metrics(z1)
        found.append((loss.item(), health["embedding_std"].item(), health["effective_rank"].item()))
    return found


def axes_of(rows: int, columns: int, width: float, height: float, **how: Any) -> tuple[Figure, np.ndarray]:
    """A figure of `width` x `height` inches and its axes, flat."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=how or None)
    for axis in axes.flat:
        axis.title.set(fontsize=9, color=INK)
    return figure, axes.flatten()


def _ticks(*axes: Axes) -> None:
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_fontsize(8)
        axis.yaxis.label.set_fontsize(8)
