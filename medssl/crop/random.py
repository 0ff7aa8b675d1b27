"""Random resized crops: windows of random volume and aspect, anywhere in the array, in 2D and 3D.

Sizes are drawn in mm where a spacing is given. `shape` is *S, the spatial shape, in index order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from medssl.crop.geometry import centre_window, check_range, draw_size
from medssl.types import InputError, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from medssl.crop.geometry import Range
    from medssl.crop.heat import Level
    from medssl.types import Maps


def build(
    *,
    scale: tuple[float, float] | list[tuple[float, float]] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    views: int | None = None,
) -> RandomCrop:
    """Windows of `scale` (share of the area or volume; a side floor of 0.447 is 0.2 in 2D, 0.089 in 3D) and `ratio`.

    `scale` may be a list of ranges, one per view (multi-crop); InputError where `views` are more or less.
    """
    return RandomCrop(scale=scale, ratio=ratio, views=views)


class RandomCrop:
    """The policy that looks anywhere with equal chance; those that look elsewhere may inherit all but `window`."""

    level: Level | None = None

    def __init__(
        self,
        *,
        scale: Range | Sequence[Range] = (0.2, 1.0),
        ratio: Range = (3 / 4, 4 / 3),
        views: int | None = None,
    ) -> None:
        several = isinstance(scale, list | tuple) and any(isinstance(one, list | tuple) for one in scale)
        self.scales = cast("list[Range]", list(scale) if several else [scale])
        for one in self.scales:
            check_range("crop.scale", one, largest=1.0)
        if several and views not in (None, len(self.scales)):
            raise InputError(
                f"crop.scale holds {len(self.scales)} ranges but views.count is {views}: give one, or one per view"
            )
        check_range("crop.ratio", ratio)
        self.ratio = ratio

    def scale(self, view: int) -> Range:
        """The range of sizes of a view."""
        return self.scales[view if len(self.scales) > 1 else 0]

    def window(
        self,
        shape: tuple[int, ...],
        index: int,
        rng: np.random.Generator,
        spacing: tuple[float, ...] | None = None,
        view: int = 0,
    ) -> Window:
        """Draw a window inside `shape` for the view numbered `view`; sizes are drawn in mm if `spacing` is given."""
        size = draw_size(shape, self.scale(view), self.ratio, rng, spacing)
        if size is None:
            return self.centre(shape, spacing)
        start = tuple(int(rng.integers(0, n - s, endpoint=True)) for n, s in zip(shape, size, strict=True))
        return Window(start, size)

    def centre(self, shape: tuple[int, ...], spacing: tuple[float, ...] | None = None) -> Window:
        """The largest centred window whose sides honour the ratio."""
        return centre_window(shape, self.ratio, spacing)

    def due(self, step: int) -> bool:
        """Never: there is nothing to refresh."""
        return False

    def boxes_of(self, maps: Iterable[Maps], size: Sequence[int], foreground: Tensor) -> tuple[Tensor, ...]:
        """No box: it takes no maps."""
        return ()

    def set_boxes(self, *found: Tensor) -> None:
        """Take nothing."""

    def box(self, index: int) -> Sequence[float] | None:
        """None: it looks anywhere."""
        return None

    def state(self) -> dict[str, Any]:
        """Nothing moves, so nothing is kept."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""

    def statistics(self) -> dict[str, float]:
        """Nothing to log."""
        return {}
