"""Training samples for fine-tuning: patches of image and label that share one map, or whole images.

Volumes smaller than the patch are padded with the lower end of the intensity window (0 after scaling), as in
sliding-window inference.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from medssl.crop.patch import part_window, patch_window
from medssl.data.arrays import compact
from medssl.localization import truth
from medssl.metrics.reference_lesions import from_classes
from medssl.tasks.task import LesionTask
from medssl.transforms.modality import preset as modality_preset
from medssl.transforms.resampling.warp import compose, draw_warp, warp
from medssl.types import InputError, Window
from medssl.views import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from medssl.data.cache import Cache, Case
    from medssl.metrics.lesions import Lesion
    from medssl.tasks.task import Task
    from medssl.transforms.modality import Preset
    from medssl.transforms.resampling.warp import WarpSettings

CACHE_BYTES = 2**31  # limit of the decoded cases that a run keeps in memory
LARGE = 2**25  # voxels; larger cases stay on disk and are read by region
FOREGROUND_VOXELS = 2000  # voxels of a class or lesion that a patch may be centred on
JITTER = 4  # a patch lies up to this part of its side away from the voxel of a lesion that it was drawn for


class Augment(NamedTuple):
    """How training samples are cropped and augmented."""

    size: tuple[int, ...]
    preset: Preset
    foreground: float  # share of patches centred on a labelled voxel
    by: Literal["class", "lesion"] | None  # what is drawn first; None: lesions, where a task has some
    scale: tuple[float, float]  # share of the image in a crop (classification)


class Decoded(NamedTuple):
    """A case in memory."""

    image: Any  # (C,*S) stored units, or an array on disk that slices to it
    target: Any  # from `Task.target`: (1,*S), in memory or on disk, for a dense task, else (K,)
    foreground_voxels: tuple[np.ndarray, ...]  # for each class that occurs, or each lesion, some of its voxels (N,n)
    lesions: tuple[Lesion, ...] | None = None  # of a dense task that looks for them; see `CaseCache.lesions`


def build(
    *,
    spatial_dims: int,
    channels: int | None = None,
    size: list[int],
    preset: str = "ct",
    warp: dict[str, Any] | None = None,
    intensity: list[dict[str, Any]] | None = None,
    foreground: float = 0.33,
    by: Literal["class", "lesion"] | None = None,
    scale: tuple[float, float] = (0.7, 1.0),
) -> Augment:
    """Check the `augment` group of a fine-tuning recipe.

    Args:
        spatial_dims: 2 or 3.
        channels: of the images; None if not known.
        size: of a training sample, in voxels.
        preset: augmentation that suits the modality, see `medssl.transforms.modality`.
        warp: geometry settings that replace those of the preset.
        intensity: intensity changes that replace those of the preset.
        foreground: segmentation: share of the patches that are centred on a labelled voxel; .5 is usual for lesions
            (nnDetection, and nnU-Net with its batch of 2), .33 for many organs.
        by: what is drawn first, then a voxel of it: a `class`, or a `lesion` (a connected component), so that a large
            one does not take nearly all patches. None: lesions in tasks that look for them.
        scale: classification: smallest and largest share of the image in a crop.

    Raises InputError for values that do not fit.

    >>> build(spatial_dims=3, size=[64, 64, 64], preset="mr").size
    (64, 64, 64)
    """
    if len(size) != spatial_dims:
        raise InputError(f"augment.size {size} has {len(size)} axes, but spatial_dims is {spatial_dims}")
    if not 0 <= foreground <= 1:
        raise InputError(f"augment.foreground={foreground} is a share of the patches: give a number in 0..1")
    made = modality_preset(preset, spatial_dims, channels, warp=warp, intensity=intensity, corrupt="none")
    if not 0 < scale[0] <= scale[1] <= 1:
        raise InputError(f"augment.scale {list(scale)} must be two shares of the image, the smaller first, in 0..1")
    return Augment(tuple(size), made, foreground, by, scale)


def network_input(
    image: Any, intensity: Sequence[tuple[float, float]], spacing: tuple[float, ...], size: tuple[int, ...], dense: bool
) -> Tensor:
    """The network's input for an image (C,*S) in stored units, outside training: scaled to [0,1].

    If `dense`, the whole image at its own voxel size (1,C,*S), else resized to (1,C,*size).
    """
    if dense:
        return torch.from_numpy(scaled(np.array(image[:], np.float32), intensity))[None]
    map_ = compose(Window((0,) * len(size), tuple(image.shape[1:])), size, spacing)
    return torch.from_numpy(scaled(warp(image, map_, average=True), intensity))[None]


class CaseCache:
    """Least-recently-used cache of decoded cases with a memory limit in bytes.

    Args:
        cache: the prepared images.
        task: makes targets of labels.
        limit: bytes of decoded cases to keep; at least one case is kept.
    """

    def __init__(self, cache: Cache, task: Task, limit: int = CACHE_BYTES, *, by: str | None = None) -> None:
        self.cache, self.task, self.limit = cache, task, limit
        self.by_lesion = by == "lesion" or (by is None and isinstance(task, LesionTask))
        self._cases: OrderedDict[str, Decoded] = OrderedDict()
        self._lesions: dict[str, tuple[Lesion, ...] | None] = {}  # of whole images, which training does not ask for
        self._bytes = 0

    def __call__(self, name: str) -> Decoded:
        """The decoded case `name`. Raises `InputError` if its label does not fit the task."""
        if name in self._cases:
            self._cases.move_to_end(name)
            return self._cases[name]
        found = self._decode(name)
        self._cases[name] = found
        self._bytes += _size(found)
        while self._bytes > self.limit and len(self._cases) > 1:
            self._bytes -= _size(self._cases.popitem(last=False)[1])
        return found

    def check(self, name: str) -> None:
        """Raise `InputError` if the label of case `name` does not fit the task; does not read the image."""
        case = self.cache.cases[name]
        self.task.target(case.classes, self._truth(case)[1], name)

    def lesions(self, name: str) -> tuple[Lesion, ...] | None:
        """The lesions of a case, if the task looks for them, for its scores; None: nobody is known to have looked."""
        if self.task.dense:
            return self(name).lesions
        if name not in self._lesions:
            self._lesions[name] = self._truth(self.cache.cases[name])[2]
        return self._lesions[name]

    def _truth(self, case: Case) -> tuple[np.ndarray | None, np.ndarray | None, tuple[Lesion, ...] | None]:
        """The stored label (1,*S) of a case, what it is trained on in its place, and lesions if the task looks so."""
        looks = isinstance(self.task, LesionTask)
        stored = np.asarray(self.cache.label(case.id)[:]) if (self.task.dense or looks) and case.has_label else None
        return (stored, *self.task.truth(case, stored)) if isinstance(self.task, LesionTask) else (stored, stored, None)

    def _decode(self, name: str) -> Decoded:
        case = self.cache.cases[name]
        large = math.prod((case.channels, *case.shape)) > LARGE
        image = self.cache.image(name) if large else np.asarray(self.cache.image(name)[:])
        if not self.task.dense:
            return Decoded(image, self.task.target(case.classes, None, name), ())
        stored, label, lesions = self._truth(case)
        target = self.task.target(case.classes, label, name)
        places = self._places(target, lesions)
        if large and stored is not None and np.array_equal(target, stored[0]):
            return Decoded(image, self.cache.label(name), places, lesions)  # what is on disk need not be held
        return Decoded(image, compact(target)[None], places, lesions)

    def _places(self, target: np.ndarray, lesions: tuple[Lesion, ...] | None) -> tuple[np.ndarray, ...]:
        """Voxels that patches may be centred on: of each class, or of each lesion."""
        if not self.by_lesion:
            found = [np.argwhere(target == value) for value in np.unique(target) if value > 0]
        else:
            names = [str(value) for value in range(1, int(target.max()) + 1)]
            found = truth.places(from_classes(target, names) if lesions is None else lesions, target.shape)
        return tuple(each[:: max(1, len(each) // FOREGROUND_VOXELS)] for each in found)


class PatchDataset(Dataset):
    """Training samples (x, target), indexed by (epoch, index); the random choices follow from (seed, epoch, index).

    Args:
        case_cache: gives the decoded cases.
        ids: the names of the training cases.
        augment: how samples are cropped and changed, see `build`.
        seed: of all random choices.
    """

    def __init__(self, case_cache: CaseCache, ids: Sequence[str], augment: Augment, seed: int) -> None:
        self.case_cache, self.ids, self.augment, self.seed = case_cache, list(ids), augment, seed
        self.cases = [case_cache.cache.cases[name] for name in ids]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        case, found = self.cases[index], self.case_cache(self.ids[index])
        x, target = (self._patch if self.case_cache.task.dense else self._image)(case, found, rng)
        for transform in self.augment.preset.intensity:
            x = transform.apply(x, transform.draw(rng, x.shape))
        return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(target)

    def _patch(self, case: Case, found: Decoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        window = patch_window(case.shape, self.augment.size, self._spot(case, found, rng), rng)
        map_, _ = draw_warp(rng, window, self.augment.size, case.spacing, self._moves(window, case))
        low = min(pair[0] for pair in case.intensity)
        x = scaled(warp(found.image, map_, fill=low), case.intensity, cut=not self.augment.preset.keep_unclipped)
        target = warp(found.target, map_, order=0, fill=0)[0]
        return x, target.astype(np.int64) if target.dtype.kind in "biu" else target

    def _image(self, case: Case, found: Decoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        window = part_window(case.shape, self.augment.scale, rng)
        map_, _ = draw_warp(rng, window, self.augment.size, case.spacing, self._moves(window, case))
        x = warp(found.image, map_, average=True)
        return scaled(x, case.intensity, cut=not self.augment.preset.keep_unclipped), found.target

    def _moves(self, window: Window, case: Case) -> WarpSettings:
        return self.augment.preset.moves(window, case.spacing)

    def _spot(self, case: Case, found: Decoded, rng: np.random.Generator) -> np.ndarray | None:
        if rng.random() >= self.augment.foreground or not found.foreground_voxels:
            return None
        drawn = found.foreground_voxels[rng.integers(len(found.foreground_voxels))]
        spot = drawn[rng.integers(len(drawn))]
        if self.case_cache.by_lesion:  # a lesion is not always in the middle of what is seen
            reach = np.asarray(self.augment.size) // JITTER
            spot = np.clip(spot + rng.integers(-reach, reach + 1), 0, np.asarray(case.shape) - 1)
        return spot


def collate(samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Stack samples to a batch (B,C,*S) and its targets."""
    return torch.stack([x for x, _ in samples]), torch.stack([target for _, target in samples])


def _size(found: Decoded) -> int:
    return sum(
        part.nbytes for part in (found.image, found.target, *found.foreground_voxels) if isinstance(part, np.ndarray)
    )
