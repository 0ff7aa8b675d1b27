"""MONAI dictionary transforms for geometry, intensity, stain and corruption.

Each transform first draws its random parameters, then applies them. The classes `Rand...d` of the modules in
`intensity` and `corruption` are found on disk, so that a new file needs no entry here; the spatial ones are in
`spatial`. Transforms that crop are in `medssl.crop`.

>>> from medssl.transforms import RandGammad
>>> RandGammad("image").set_random_state(0)({"image": np.full((1, 4, 4), 0.5)})["image"].shape
(1, 4, 4)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medssl.kinds import kinds, resolve
from medssl.transforms.spatial import RandAffineWarpd, RandElasticWarpd


def _found() -> dict[str, type]:
    modules = [resolve(group, kind) for group in ("intensity", "corrupt") for kind in kinds(group)]
    own = [(name, value) for module in modules for name, value in vars(module).items()
           if isinstance(value, type) and value.__module__ == module.__name__]  # fmt: skip
    return {name: value for name, value in own if name.startswith("Rand") and name.endswith("d")}


globals().update(_found())
__all__ = sorted([*_found(), "RandAffineWarpd", "RandElasticWarpd"])


def __getattr__(name: str) -> Any:  # for type checkers, which cannot know the classes found on disk
    raise AttributeError(f"module {__name__} has no transform {name}; the transforms are {', '.join(__all__)}")
