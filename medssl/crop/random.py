"""Random resized crops: windows of random volume and aspect ratio at random positions, in 2D and 3D.

Sizes are drawn in mm if a spacing is given. `shape` is *S, the spatial shape, in index order.
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
    """Random crops; see `RandomCrop` for the arguments.

    The same side length is a smaller share of a volume than of an image: 0.2 of the area is a side of 0.447, which is
    0.089 of a volume.

    >>> build(scale=(0.05, 0.5)).scales
    [(0.05, 0.5)]
    """
    return RandomCrop(scale=scale, ratio=ratio, views=views)


class RandomCrop:
    """Crops of random size and aspect ratio at a uniformly random position.

    Policies of your own may inherit from it and change only `window`.

    Args:
        scale: smallest and largest share of the area (2D) or volume (3D) in a crop; or a list of such ranges, one per
            view (multi-crop).
        ratio: smallest and largest aspect ratio: width / height in 2D, depth / the other sides in 3D.
        views: number of views, to check a list against; None: not checked.

    Raises InputError for ranges out of (0, 1], and for a list that has not one range per view.

    >>> import numpy as np
    >>> crop = RandomCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0))
    >>> crop.window((64, 64), index=0, rng=np.random.default_rng(0)).size
    (32, 32)
    """

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
        """The range of crop sizes of a view, as shares of the image."""
        return self.scales[view if len(self.scales) > 1 else 0]

    def window(
        self,
        shape: tuple[int, ...],
        index: int,
        rng: np.random.Generator,
        spacing: tuple[float, ...] | None = None,
        view: int = 0,
    ) -> Window:
        """Draw a window inside `shape` for view number `view`; sizes are drawn in mm if `spacing` is given."""
        size = draw_size(shape, self.scale(view), self.ratio, rng, spacing)
        if size is None:
            return self.centre(shape, spacing)
        start = tuple(int(rng.integers(0, n - s, endpoint=True)) for n, s in zip(shape, size, strict=True))
        return Window(start, size)

    def centre(self, shape: tuple[int, ...], spacing: tuple[float, ...] | None = None) -> Window:
        """The largest centred window whose aspect ratio is in range."""
        return centre_window(shape, self.ratio, spacing)

    def due(self, step: int) -> bool:
        """Never: random crops have no boxes."""
        return False

    def boxes_of(self, maps: Iterable[Maps], size: Sequence[int], foreground: Tensor) -> tuple[Tensor, ...]:
        """Return no boxes: heat maps are not used."""
        return ()

    def set_boxes(self, *found: Tensor) -> None:
        """Do nothing: random crops have no boxes."""

    def box(self, index: int) -> Sequence[float] | None:
        """None: random crops have no boxes."""
        return None

    def state(self) -> dict[str, Any]:
        """Empty: random crops have no state."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Do nothing: random crops have no state."""

    def statistics(self) -> dict[str, float]:
        """Empty: there is nothing to log."""
        return {}
