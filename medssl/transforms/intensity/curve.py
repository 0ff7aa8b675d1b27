"""Intensity changes by a tone curve; a constant image stays constant."""

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
    """An intensity change by a tone curve; subclasses define `parameters` and `curve`."""

    def curve(self, params: Params) -> Callable[[np.ndarray], np.ndarray]:
        """The curve, a function [0,1] -> [0,1], for drawn parameters."""
        raise NotImplementedError

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply the curve."""
        return tone(x, self.curve(params))

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Apply to each sample its own curve, as a table."""
        return batched.tone(x, [self.curve(params) for params in drawn])
