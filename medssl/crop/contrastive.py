"""ContrastiveCrop: crops centred in a box around the region that the encoder responds to, rarely in its middle.

Peng et al., "Crafting Better Contrastive Views for Siamese Representation Learning", CVPR 2022: semantic-aware
localization and center-suppressed sampling. 2D as published; 3D is an extension of this project.
A box is 2n numbers, the low corner then the high corner, in index order, as fractions of the array's shape.

Arguments of `build`:
    samples, spatial_dims, steps, views, levels: supplied by medssl: number of training images, axes, steps of the
        run, views per sample and feature levels of the encoder; None: not checked.
    scale: smallest and largest share of the image in a crop; or a list of such ranges, one per view.
    ratio: smallest and largest aspect ratio of a crop.
    alpha: crop centres follow Beta(alpha, alpha) over the box: below 1 the middle is rare, 1 is uniform.
    threshold: a heat map is scaled to 0..1, and the box encloses all cells above this value.
    start: when boxes are first made; crops are random before. "100%" never makes one: the random baseline.
    every: time between updates of the boxes.
    level: feature level of the heat map: "auto" is the deepest one with 6 cells or more per axis.
    box_upper: whether the upper corner of a box includes its last cell ("edge"), or not ("index", as published).
    min_side: smallest side of a box, as a fraction of the image's side.
    percentile: replaces `threshold` by a percentile of the heat map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from medssl.crop.box_checks import check_settings, warn_of_boxes
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
    """ContrastiveCrop for a run of `steps` steps on `samples` training images.

    As published: level deepest, box_upper index, min_side 0, threshold 0.1, alpha 0.6 (0.1 for small images).

    Raises InputError for values out of range.

    >>> crop = build(samples=100, spatial_dims=2, steps=1000, start=0.2, every=0.4)
    >>> [step for step in range(1001) if crop.due(step)], crop.box(0)
    ([200, 600], None)
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
    """Random crops before the first boxes are set, then crops centred in the box of each sample.

    Boxes are in shared memory: the workers of a data loader see new ones at once.

    Args:
        random: draws sizes, and positions as long as there are no boxes.
        samples: number of training images.
        spatial_dims: 2 or 3.
        alpha: crop centres follow Beta(alpha, alpha) over the box.
        due: steps after which boxes are computed.
        level: feature level of the heat map.
        rule: settings of the box, as `heat.box_from_map` takes them: threshold, box_upper, min_side, percentile.

    >>> crop = build(samples=2, spatial_dims=2, steps=10, scale=(0.1, 0.2))
    >>> crop.set_boxes(torch.tensor([0, 1]), torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0]]))
    >>> crop.box(1)
    [0.5, 0.5, 1.0, 1.0]
    """

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
        check_settings(alpha, rule)
        self.random, self.alpha, self.level, self.rule = random, alpha, level, rule
        self.steps_due = frozenset(due)
        # Shared memory: workers that keep running must see new boxes; a plain tensor in a worker would not change.
        # On the CPU, whatever the default device is: workers read them there.
        whole = torch.tensor(full_box(spatial_dims), dtype=torch.float64, device="cpu")
        self.boxes = whole.repeat(samples, 1).share_memory_()
        self.largest = self.boxes.clone()  # the largest box there can be: around the body, by the rule of `box_upper`
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
        """Draw a window centred in the box of sample `index`; sizes are drawn in mm if `spacing` is given."""
        if not self.refreshes.item():
            return self.random.window(shape, index, rng, spacing, view)
        return contrastive_window(shape, self.boxes[index].tolist(), self.alpha, self.random, rng, spacing, view)

    def due(self, step: int) -> bool:
        """Whether boxes are computed after `step` steps: at `start`, then at each `every`, never at the end."""
        return step in self.steps_due

    def boxes_of(
        self, maps: Iterable[Maps], size: Sequence[int] | None = None, foreground: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Turn heat maps into sample numbers (N,), boxes (N,2n) and the largest boxes there can be (N,2n).

        The box is NaN if a map has none. `size` is the size of the images that the maps come from. `foreground`
        (samples, 2n) holds the box around each body, which limits its crop box.
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
        """Store `boxes` (N,2n) of the samples `index` (N,). NaN becomes the whole array, with a warning.

        `largest` (N,2n) are the largest boxes there can be, None: the whole array.
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
        warn_of_boxes(covers(self.boxes[renewed], self.largest[renewed]), self.fallback[renewed], crops)

    def box(self, index: int) -> list[float] | None:
        """The box (2n) of a sample; None until boxes have been set."""
        return self.boxes[index].tolist() if self.refreshes.item() else None

    def state(self) -> dict[str, Any]:
        """The boxes and counts, for a checkpoint."""
        return {
            "boxes": self.boxes.clone(),
            "largest": self.largest.clone(),
            "refreshes": int(self.refreshes.item()),
            "fallback": self.fallback.clone(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state. Raises InputError if it belongs to another number of samples or axes."""
        if state["boxes"].shape != self.boxes.shape:
            raise InputError(
                f"the checkpoint holds crop boxes of shape {tuple(state['boxes'].shape)}, this run needs "
                f"{tuple(self.boxes.shape)}: resume with the same training samples"
            )
        self.boxes.copy_(state["boxes"])
        self.largest.copy_(
            state.get("largest", self.largest)
        )  # older checkpoints lack it; it is set again with the next boxes
        self.refreshes.fill_(state["refreshes"])
        self.fallback.copy_(state["fallback"])

    def statistics(self) -> dict[str, float]:
        """The numbers to log.

        box_volume: mean share of the image in a box; box_share: the same, as a share of the largest box there can be
        (the body); full_boxes: share of boxes that are that large; guided_crops: share of crops (view 0) whose position
        a box restricts; box_fallbacks: number of heat maps without a box.
        """
        share = volume(self.boxes) / volume(self.largest)
        return {
            "box_volume": volume(self.boxes).mean().item(),
            "box_share": share.clamp(max=1).mean().item(),  # the box of a map without one is the whole image
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
    """Draw a window as `random` does for view number `view`, but centred in `box`.

    Its centre follows Beta(alpha, alpha) over the box: rarely in the middle if alpha < 1.
    """
    size = draw_size(shape, random.scale(view), random.ratio, rng, spacing)
    if size is None:
        return random.centre(shape, spacing)
    start = []
    for axis, (n, s) in enumerate(zip(shape, size, strict=True)):
        first, last = start_range(n, s, box[axis], box[axis + len(shape)])
        start.append(first + int((last - first) * rng.beta(alpha, alpha)))
    return Window(tuple(start), size)
