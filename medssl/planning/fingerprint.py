"""What a plan must know of a cache: how many cases, how large, how finely sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.data.cache import Cache

COARSE = 3.0  # an axis is coarse if its spacing is so many times the finest, and its voxels that many times fewer
VARIES = 1.25  # 90th over 10th percentile of a spacing, above which cases are sampled differently


class Fingerprint(NamedTuple):
    """The training cases of a cache; sizes in index order (Z,Y,X or Y,X)."""

    cases: int
    patients: int
    channels: int
    preset: str
    shape: tuple[float, ...]  # median, voxels
    spacing: tuple[float, ...]  # target, mm: see `target_spacing`
    spacing_known: bool
    varies: bool  # whether spacings differ between cases

    @property
    def extent(self) -> tuple[float, ...]:
        """Median sides in mm."""
        return tuple(n * mm for n, mm in zip(self.shape, self.spacing, strict=True))


def of(cache: Cache) -> Fingerprint:
    """Read a cache's index; no image is opened, and cases of the split `test` are left out. Raises InputError."""
    cases = [case for case in cache.cases.values() if case.split != "test"]
    if not cases:
        raise InputError(
            f"cache {cache.path} has no cases for pretraining: all {len(cache.cases)} are in the split test"
        )
    dims = {len(case.shape) for case in cases}
    if len(dims) > 1:
        raise InputError(f"cache {cache.path} has both 2D and 3D images: prepare them into separate caches")
    spacings = np.array([case.spacing for case in cases])
    extents = np.array([case.shape for case in cases]) * spacings
    spacing = target_spacing(spacings, np.array([case.shape for case in cases]))
    return Fingerprint(
        cases=len(cases),
        patients=len({case.patient for case in cases}),
        channels=cases[0].channels,
        preset=str(cache.preprocessing["preset"]),
        shape=tuple(float(n) for n in np.median(extents, 0) / spacing),
        spacing=spacing,
        spacing_known=all(case.spacing_known for case in cases),
        varies=bool((np.percentile(spacings, 90, axis=0) > VARIES * np.percentile(spacings, 10, axis=0)).any()),
    )


def target_spacing(spacings: np.ndarray, shapes: np.ndarray) -> tuple[float, ...]:
    """The median spacing (cases, axes) of each axis; of a coarse axis the 10th percentile, but never under the others.

    nnU-Net's rule (Isensee et al. 2021, supplementary note 2): with the median, half of the cases would lose slices.
    """
    found = np.median(spacings, 0)
    worst = int(found.argmax())
    others = np.delete(found, worst)
    voxels = np.median(shapes, 0)
    if found[worst] > COARSE * found.min() and voxels[worst] * COARSE < np.delete(voxels, worst).min():
        found[worst] = max(float(np.percentile(spacings[:, worst], 10)), float(others.max()))
    return tuple(round(float(mm), 4) for mm in found)
