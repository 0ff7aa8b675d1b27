"""ContrastiveCrop: windows whose centres lie in a box around what the encoder responds to, rarely in its middle.

Peng et al., "Crafting Better Contrastive Views for Siamese Representation Learning", CVPR 2022: semantic-aware
localization and center-suppressed sampling. 2D as released; 3D is this project's.
A box is 2n numbers, the low corner then the high corner, in index order, as shares of the array's shape.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

import torch

from medssl.crop.geometry import draw_size, full_box, start_range
from medssl.crop.heat import box_from_map, covers, guided, heat_map, largest_box, volume
from medssl.crop.random import RandomCrop
from medssl.times import repeated
from medssl.types import InputError, Window

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from medssl.crop.heat import Level
    from medssl.types import Maps

__all__ = ["ContrastiveCrop", "box_from_map", "build", "heat_map"]

MOSTLY_FULL = 0.9
FEW_GUIDED = 0.1


def build(
    *,
    samples: int,
    spatial_dims: int,
    steps: int,
    views: int | None = None,
    levels: int | None = None,
    scale: tuple[float, float] | list[tuple[float, float]] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    alpha: float = 0.6,
    threshold: float = 0.1,
    start: float | int = 0.2,
    every: float | int = 0.2,
    level: Literal["auto", "deepest"] | int = "auto",
    box_upper: Literal["edge", "index"] = "edge",
    min_side: float = 0.3,
    percentile: float | None = None,
) -> ContrastiveCrop:
    """Make the policy for `samples` volumes and a run of `steps`; `scale` is one range, or a list of one per view.

    A `start` at the last step ("100%") is the baseline that never makes a box: random crops by the same code.
    As published: level deepest, box_upper index, min_side 0, threshold 0.1, alpha 0.6 (0.1 for small images).
    """
    due = repeated(start, every, steps, "crop")
    if isinstance(level, int) and levels is not None and not -levels <= level < levels:
        raise InputError(f"crop.level={level}, but the encoder has the levels 0 to {levels - 1}")
    return ContrastiveCrop(
        RandomCrop(scale=scale, ratio=ratio, views=views),
        samples=samples,
        spatial_dims=spatial_dims,
        alpha=alpha,
        due=due,
        level=level,
        rule={"threshold": threshold, "box_upper": box_upper, "min_side": min_side, "percentile": percentile},
    )


class ContrastiveCrop:
    """The policy; it draws like `random` until the first refresh, and shares its boxes with the workers of a loader."""

    def __init__(
        self,
        random: RandomCrop,
        *,
        samples: int,
        spatial_dims: int,
        alpha: float,
        due: Collection[int],
        level: Level | None,
        rule: Mapping[str, Any],
    ) -> None:
        _check(alpha, rule)
        self.random, self.alpha, self.level, self.rule = random, alpha, level, rule
        self.steps_due = frozenset(due)
        # Shared memory: a worker that outlives a refresh must see the new boxes; a plain tensor stays what it was.
        # On the CPU, whatever the default device is: workers read them there.
        whole = torch.tensor(full_box(spatial_dims), dtype=torch.float64, device="cpu")
        self.boxes = whole.repeat(samples, 1).share_memory_()
        self.largest = self.boxes.clone()  # how far each box could reach: the body, by the rule of `box_upper`
        self.refreshes = torch.zeros(1, dtype=torch.int64, device="cpu").share_memory_()
        self.fallback = torch.zeros(samples, dtype=torch.bool, device="cpu")

    def window(
        self,
        shape: tuple[int, ...],
        index: int,
        rng: np.random.Generator,
        spacing: tuple[float, ...] | None = None,
        view: int = 0,
    ) -> Window:
        """Draw a window centred in the box of sample `index`; sizes are the view's, in mm if `spacing` is given."""
        if not self.refreshes.item():
            return self.random.window(shape, index, rng, spacing, view)
        return contrastive_window(shape, self.boxes[index].tolist(), self.alpha, self.random, rng, spacing, view)

    def due(self, step: int) -> bool:
        """Whether boxes are renewed after `step` steps are done: from `start` on, every `every`, never at the end."""
        return step in self.steps_due

    def boxes_of(
        self, maps: Iterable[Maps], size: Sequence[int] | None = None, foreground: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Turn maps into sample (N,), box (N,2n) and the largest box there can be (N,2n).

        A box of NaN stands for a map that says nothing. `size` is the size of the images that gave the maps.
        `foreground` (samples, 2n) holds boxes to stay inside.
        """
        index, boxes, largest = [], [], []
        for samples, heat_B, inside_B in maps:
            index += samples.tolist()
            for i, number in enumerate(samples.tolist()):
                body = None if foreground is None else foreground[number]
                rule = {**self.rule, "foreground": body, "inside": None if inside_B is None else inside_B[i]}
                boxes.append(box_from_map(heat_B[i], size, **rule))
                largest.append(largest_box(heat_B[i].shape, size, **rule))
        return torch.tensor(index, dtype=torch.int64), torch.stack(boxes), torch.stack(largest)

    def set_boxes(self, index: Tensor, boxes: Tensor, largest: Tensor | None = None) -> None:
        """Store `boxes` (N,2n) of the samples `index` (N,); NaN becomes the whole array, is counted and warned of.

        `largest` (N,2n) is how far each could reach, the whole array if None: those that reach it are full.
        """
        index, boxes = index.cpu(), boxes.to("cpu", torch.float64)
        silent = boxes.isnan().any(1)
        full = torch.tensor(full_box(boxes.shape[1] // 2), dtype=torch.float64)
        self.boxes[index] = torch.where(silent[:, None], full, boxes)
        reach = full.expand_as(boxes) if largest is None else largest.to("cpu", torch.float64)
        self.largest[index] = torch.where(reach.isnan(), full, reach)
        self.fallback[index] = silent
        self.refreshes += 1
        renewed = index.unique()
        crops = guided(self.boxes[renewed], self.random.scale(0))
        _warn(covers(self.boxes[renewed], self.largest[renewed]), self.fallback[renewed], crops)

    def box(self, index: int) -> list[float] | None:
        """The box (2n) of a sample; None until boxes have been set."""
        return self.boxes[index].tolist() if self.refreshes.item() else None

    def state(self) -> dict[str, Any]:
        """Everything that moves, as tensors."""
        return {
            "boxes": self.boxes.clone(),
            "largest": self.largest.clone(),
            "refreshes": int(self.refreshes.item()),
            "fallback": self.fallback.clone(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave; raises InputError if it is of another number of samples or axes."""
        if state["boxes"].shape != self.boxes.shape:
            raise InputError(
                f"the checkpoint holds crop boxes of shape {tuple(state['boxes'].shape)}, this run needs "
                f"{tuple(self.boxes.shape)}: resume with the same training samples"
            )
        self.boxes.copy_(state["boxes"])
        self.largest.copy_(state.get("largest", self.largest))  # older checkpoints lack it; a refresh brings it anew
        self.refreshes.fill_(state["refreshes"])
        self.fallback.copy_(state["fallback"])

    def statistics(self) -> dict[str, float]:
        """What to log of the boxes.

        box_volume: mean share of the array; box_share: mean share of how far a box could reach (the body); full_boxes:
        share of boxes that reach that far; guided_crops: share of crops (view 0) whose centre a box keeps from where
        it could be otherwise; box_fallbacks: number of maps that said nothing.
        """
        share = volume(self.boxes) / volume(self.largest)
        return {
            "box_volume": volume(self.boxes).mean().item(),
            "box_share": share.clamp(max=1).mean().item(),  # the box of a silent map is larger than a body
            "full_boxes": covers(self.boxes, self.largest).double().mean().item(),
            "guided_crops": guided(self.boxes, self.random.scale(0)),
            "box_fallbacks": float(self.fallback.sum()),
        }


def contrastive_window(
    shape: tuple[int, ...],
    box: Sequence[float],
    alpha: float,
    random: RandomCrop,
    rng: np.random.Generator,
    spacing: tuple[float, ...] | None = None,
    view: int = 0,
) -> Window:
    """Draw a window as `random` does for the view numbered `view`, but centred in `box`.

    Its centre ~ Beta(alpha, alpha) over the box: rarely in the middle if alpha < 1.
    """
    size = draw_size(shape, random.scale(view), random.ratio, rng, spacing)
    if size is None:
        return random.centre(shape, spacing)
    start = []
    for axis, (n, s) in enumerate(zip(shape, size, strict=True)):
        first, last = start_range(n, s, box[axis], box[axis + len(shape)])
        start.append(first + int((last - first) * rng.beta(alpha, alpha)))
    return Window(tuple(start), size)


def _warn(full: Tensor, silent: Tensor, crops: float) -> None:
    """Warn of boxes just set: of `silent` (N,) maps, and if nearly all are `full` (N,) or few `crops` are guided."""
    if silent.any():
        warnings.warn(
            f"{int(silent.sum())} of {len(silent)} heat maps are constant, not finite or nowhere above the threshold: "
            "their windows are drawn from the whole image",
            stacklevel=3,
        )
    if (share := full.double().mean().item()) > MOSTLY_FULL:
        warnings.warn(
            f"{share:.0%} of the crop boxes are the whole image or all of the body, so ContrastiveCrop does little: "
            "raise crop.threshold (0.3 or 0.5) or set crop.percentile",
            stacklevel=3,
        )
    elif crops < FEW_GUIDED:
        warnings.warn(
            f"boxes move {crops:.0%} of the crops: most are too large to be anywhere but in the middle, so "
            "ContrastiveCrop does little: lower crop.scale (in 3D [0.05, 0.5]), or raise crop.threshold",
            stacklevel=3,
        )


def _check(alpha: float, rule: Mapping[str, Any]) -> None:
    if not (alpha > 0 and math.isfinite(alpha)):
        raise InputError(f"crop.alpha is {alpha}: give a positive number (0.6 in the paper, 1 is uniform)")
    if not 0 <= rule["threshold"] < 1:
        raise InputError(
            f"crop.threshold is {rule['threshold']}: the map lies in 0..1, give a number from 0 to below 1"
        )
    if not 0 <= rule["min_side"] <= 1:
        raise InputError(f"crop.min_side is {rule['min_side']}: it is a share of the side; give a number from 0 to 1")
    if rule["percentile"] is not None and not 0 <= rule["percentile"] < 100:
        raise InputError(f"crop.percentile is {rule['percentile']}: give a number from 0 to below 100, or null")
