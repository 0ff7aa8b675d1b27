"""A crop policy as a user would add it: one file. Half of the windows are centred where the encoder responds most."""

from __future__ import annotations

import numpy as np
import torch

from medssl.crop.geometry import full_box
from medssl.crop.random import RandomCrop
from medssl.types import Window


class Hottest(RandomCrop):
    """The box of a sample is its hottest cell."""

    level = "deepest"

    def __init__(self, samples, spatial_dims, views, every):
        super().__init__(scale=(0.1, 0.4), views=views)
        self.every, self.set = every, torch.zeros(1, dtype=torch.int64).share_memory_()
        self.boxes = torch.tensor(full_box(spatial_dims), dtype=torch.float64).repeat(samples, 1).share_memory_()

    def window(self, shape, index, rng, spacing=None, view=0):
        start, size = super().window(shape, index, rng, spacing, view)
        if not self.set or rng.random() < 0.5:
            return Window(start, size)
        low, high = self.boxes[index].numpy().reshape(2, -1)
        at = np.round((low + high) / 2 * shape - np.array(size) / 2).astype(int)
        return Window(tuple(np.clip(at, 0, np.array(shape) - size).tolist()), size)

    def due(self, step):
        return step > 0 and step % self.every == 0

    def boxes_of(self, maps, size, foreground):
        found = [(int(i), heat) for samples, heat_B, _ in maps for i, heat in zip(samples, heat_B, strict=True)]
        rows = []
        for _, heat in found:
            cell = np.array(np.unravel_index(int(heat.argmax()), heat.shape))
            rows.append(np.concatenate([cell, cell + 1]) / np.tile(heat.shape, 2))
        return torch.tensor([i for i, _ in found]), torch.tensor(np.stack(rows))

    def set_boxes(self, index, boxes):
        self.boxes[index.cpu()] = boxes.cpu().double()
        self.set += 1

    def box(self, index):
        return self.boxes[index].tolist() if self.set else None

    def state(self):
        return {"boxes": self.boxes.clone(), "set": self.set.clone()}

    def load(self, state):
        self.boxes.copy_(state["boxes"])
        self.set.copy_(state["set"])

    def statistics(self):
        return {"times_set": float(self.set)}


def build(*, samples: int, spatial_dims: int, views: int | None = None, every: int = 2) -> Hottest:
    """Half of the windows around the hottest cell, renewed after `every` steps."""
    return Hottest(samples, spatial_dims, views, every)
