"""Changes by a tone curve, which keep a constant image constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms import batched
from medssl.transforms.base import RandTransform
from medssl.transforms.filters import tone

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from medssl.transforms.base import Params


class Curve(RandTransform):
    """A change by a tone curve."""

    def curve(self, params: Params) -> Callable[[np.ndarray], np.ndarray]:
        """Return the drawn curve, [0,1] -> [0,1]."""
        raise NotImplementedError

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Map through the curve."""
        return tone(x, self.curve(params))

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Map each sample through its curve, by a table of it."""
        return batched.tone(x, [self.curve(params) for params in drawn])
