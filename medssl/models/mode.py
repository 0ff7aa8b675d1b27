"""Use a network without changing its training mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A context in which `module` is in evaluation mode; afterwards each part has its previous mode again."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
