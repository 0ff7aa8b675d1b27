"""Fine-tuning by hand, in plain torch and NumPy, of the network of `plain`: written from the docs, not from the loop.

Weights are a dictionary of float64 tensors under the names of the checkpoint. Shapes: B batch, K classes with
background, *S = (D,H,W).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch.nn import functional

TRAINED = ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "0.weight", "0.bias", "linear.weight", "linear.bias")


def scaled(image, low, high):
    """Stored values (C,*S) to [0,1]: what is beyond the window is cut."""
    return torch.from_numpy(np.clip((image.astype(np.float64) - low) / (high - low), 0, 1))


def network(weights, x, *, training):
    """Logits of a batch; in training the running statistics of `weights` move by a tenth, the variance unbiased."""
    conv = functional.conv3d if x.ndim == 5 else functional.conv2d
    x = conv(x, weights["encoder.conv.weight"], padding=1)
    axes = [0, *range(2, x.ndim)]
    mean, variance = weights["encoder.norm.running_mean"], weights["encoder.norm.running_var"]
    if training:
        count = x.numel() // x.shape[1]
        mean, variance = x.mean(axes), x.var(axes, unbiased=False)
        for name, now in (("mean", mean.detach()), ("var", variance.detach() * count / (count - 1))):
            running = f"encoder.norm.running_{name}"
            weights[running] = 0.9 * weights[running] + 0.1 * now
    shape = [1, -1, *[1] * (x.ndim - 2)]
    x = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
    x = torch.relu(x * weights["encoder.norm.weight"].view(shape) + weights["encoder.norm.bias"].view(shape))
    if "decoder.conv.weight" not in weights:
        return x.flatten(2).mean(2) @ weights["head.linear.weight"].T + weights["head.linear.bias"]
    x = torch.relu(conv(x, weights["decoder.conv.weight"], weights["decoder.conv.bias"], padding=1))
    return conv(x, weights["head.0.weight"], weights["head.0.bias"])


def segmentation_losses(logits, label):
    """Mean cross-entropy, and 1 - the mean over foreground classes of Dice, summed over batch and voxels, smooth 1."""
    probability = logits.exp() / logits.exp().sum(1, keepdim=True)
    truth = torch.stack([label == value for value in range(logits.shape[1])], 1).double()
    cross_entropy = -(truth * probability.log()).sum(1).mean()
    overlaps = []
    for value in range(1, logits.shape[1]):
        p, t = probability[:, value], truth[:, value]
        overlaps.append((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    return {"cross_entropy": cross_entropy, "dice": 1 - sum(overlaps) / len(overlaps)}


def classification_losses(logits, truth):
    """Cross-entropy of one class a case."""
    return {"cross_entropy": -(logits - logits.exp().sum(1, keepdim=True).log())[truth == 1].mean()}


def rate(step, steps, lr, warmup):
    """A linear warm-up whose first step has a part of it already, then a cosine down to 0."""
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


class Optimizer:
    """SGD with momentum and L2, or AdamW; `clip` bounds the norm of all gradients together."""

    def __init__(self, kind, *, weight_decay, momentum=0.0, clip=None):
        self.kind, self.weight_decay, self.momentum, self.clip, self.state = kind, weight_decay, momentum, clip, {}

    def step(self, weights, gradients, lr):
        if self.clip is not None:
            norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
            gradients = {name: g * min(1.0, self.clip / (norm + 1e-6)) for name, g in gradients.items()}
        for name, g in gradients.items():
            weights[name] = getattr(self, self.kind)(name, weights[name], g, lr)

    def sgd(self, name, w, g, lr):
        g = g + self.weight_decay * w
        self.state[name] = self.momentum * self.state[name] + g if name in self.state else g
        return w - lr * self.state[name]

    def adamw(self, name, w, g, lr):
        t, m, v = self.state.get(name, (0, torch.zeros_like(w), torch.zeros_like(w)))
        t, m, v = t + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        self.state[name] = t, m, v
        w = w - lr * self.weight_decay * w
        return w - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)


def train(weights, batches, losses, optimizer, *, lr, warmup):
    """Yield (weights, losses) after each step; a step's batch comes as parts [(x, target), ...] of equal size."""
    weights = {name: tensor.double() for name, tensor in weights.items()}
    for step, parts in enumerate(batches):
        total, seen = {}, {}
        for x, target in parts:
            leaves = {n: w.clone().requires_grad_(n.endswith(TRAINED)) for n, w in weights.items()}
            found = losses(network(leaves, x, training=True), target)
            sum(found.values()).backward()
            for name, leaf in leaves.items():
                if name.endswith(TRAINED):
                    total[name] = total.get(name, 0) + leaf.grad / len(parts)
                else:
                    weights[name] = leaf
            for name, loss in found.items():
                seen[name] = seen.get(name, 0) + float(loss.detach()) / len(parts)
        optimizer.step(weights, total, rate(step, len(batches), lr, warmup))
        yield dict(weights), seen


def windows(volume, window, overlap):
    """Where windows start along each axis: steps of (1 - overlap) of a window, the last one up against the end."""
    axes = []
    for n, w in zip(volume, window, strict=True):
        step = max(1, int(w * (1 - overlap)))
        count = math.ceil((n - w) / step) + 1
        axes.append(sorted({min(i * step, n - w) for i in range(count)}))
    return list(itertools.product(*axes))


def gaussian(window):
    """The weight of each voxel of a window: a Gaussian of an eighth of its sides, at least a thousandth."""
    weight = np.ones(window)
    for axis, n in enumerate(window):
        x = np.arange(n) - (n - 1) / 2
        shape = [-1 if a == axis else 1 for a in range(len(window))]
        weight = weight * np.exp(-(x**2) / (2 * (0.125 * n) ** 2)).reshape(shape)
    return torch.from_numpy(np.maximum(weight, 1e-3))


def sliding(call, x, window, overlap=0.5):
    """Probabilities (K,*S) of an image (C,*S), smaller sides padded with 0 on both: weighted means of logits."""
    pads = [(max(0, w - n) // 2, max(0, w - n) - max(0, w - n) // 2) for n, w in zip(x.shape[1:], window, strict=True)]
    padded = functional.pad(x, [p for pair in reversed(pads) for p in pair])
    weight, total, norm = gaussian(window), 0, torch.zeros(padded.shape[1:], dtype=torch.float64)
    for start in windows(padded.shape[1:], window, overlap):
        place = tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))
        logits = call(padded[(slice(None), *place)][None])[0]
        total = torch.zeros(len(logits), *padded.shape[1:], dtype=torch.float64) if isinstance(total, int) else total
        total[(slice(None), *place)] += weight * logits
        norm[place] += weight
    inside = tuple(slice(low, low + n) for (low, _), n in zip(pads, x.shape[1:], strict=True))
    return (total / norm).softmax(0)[(slice(None), *inside)]


def dice(probability, label, classes):
    """Dice of each foreground class of a mask, and their mean; NaN for a class that neither has."""
    mask, found = probability.argmax(0).numpy(), []
    for value in range(1, classes):
        both, sizes = ((mask == value) & (label == value)).sum(), (mask == value).sum() + (label == value).sum()
        found.append(2 * both / sizes if sizes else math.nan)
    return float(np.nanmean(found)), found
