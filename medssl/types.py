"""The words every room shares, and the legend of shape letters.

V views, B batch, C channels, D embedding, K bank (learned negatives), *S = H,W or D,H,W.
Arrays in memory and in the cache are channel first and index order: (C,Y,X) or (C,Z,Y,X).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    Features = tuple[Tensor, ...]  # feature maps (B,C_i,*S_i), fine to coarse


class InputError(Exception):
    """What the user gave is wrong. The message is one sentence: what is wrong, both values, what to do. Exit code 2."""

    quiet = False  # true where another rank says the same


class Interrupted(Exception):  # noqa: N818  (not an error: the run stopped as asked, with a checkpoint written)
    """A signal stopped the run after a checkpoint was written. Exit code 75, so that a scheduler can requeue."""

    quiet = False  # true where another rank says the same


class Window(NamedTuple):
    """A box of voxels of a cached array, in index order; `start[i] >= 0`, `start[i] + size[i] <= shape[i]`."""

    start: tuple[int, ...]
    size: tuple[int, ...]


class View(NamedTuple):
    """One view of one sample, as numpy arrays in [0, 1]."""

    x: np.ndarray  # (C,*S) float32: what the method compares
    target: np.ndarray  # (C,*S) float32: the same geometry, without intensity changes and corruption
    mask: np.ndarray  # (1,*S) bool: true where the corruption erased or moved voxels
    window: Window
    drawn: Mapping[str, Any]  # the drawn parameters by transform name, enough to replay the view
    corrupted: np.ndarray | None = None  # (C,*S) float32: x corrupted, for restoration; None: x is what it restores

    @property
    def seen(self) -> np.ndarray:
        """What restoration starts from (C,*S)."""
        return self.x if self.corrupted is None else self.corrupted


class Views(NamedTuple):
    """A batch of views. `x` is a tuple, since multi-crop views differ in size.

    With `views.corrupt_for=all` the views in `x` are corrupted, and restoration starts from view 0 as the method sees
    it. With `restore` they are not, and `corrupted` holds view 0 as restoration sees it: the same crop, the same
    changes of geometry and intensity, then the corruption.
    """

    x: tuple[Tensor, ...]  # V tensors (B,C,*S) float32 in [0, 1]: what the method compares
    target: Tensor  # (B,C,*S): restoration target of view 0
    mask: Tensor  # (B,1,*S) bool: where view 0 was corrupted
    sample: Tensor  # (B,) int64: index of the sample in the training set
    patient: Tensor  # (B,) int64: number of its patient in the training set
    corrupted: Tensor | None = None  # (B,C,*S): what restoration starts from; None: view 0 of `x`


class Losses(NamedTuple):
    """What a pretext returns. Both dicts hold scalars by name."""

    main: dict[str, Tensor]  # lowered by encoder, decoder, heads
    adversaries: dict[str, Tensor]  # each lowered by the adversary of that name, and reaching only its parameters


class Maps(NamedTuple):
    """Heat maps of a batch of samples, at the resolution of a feature level."""

    sample: Tensor  # (B,) int64: index of the sample in the training set
    heat: Tensor  # (B,*S)
    inside: Tensor | None = None  # (B,*S) bool: cells that hold some of the body; None: all


class Encoder(Protocol):
    """A network from images to features: a torch module whose attributes say what its features are."""

    channels: Sequence[int]  # of each level, fine to coarse
    strides: Sequence[int | tuple[int, ...]]  # of each level: a feature map has the sides ceil(S / stride)
    divisor: int | tuple[int, ...]  # what sides it takes: multiples of this; it raises InputError for others

    def __call__(self, x_BC: Tensor) -> Features:
        """Images (B,C,*S) -> one feature map (B,channels[i],*S_i) per level, fine to coarse."""


class Exporter(Protocol):
    """A module that writes weights in a format; it may also have `load(folder)`, the encoder's tensors by name."""

    def export(self, run: Path, out: Path) -> Path:
        """Write what `run` learned into the folder `out`; returns `out`. Raises InputError if that is not empty."""


class CropPolicy(Protocol):
    """Where a view looks, and, if it has a `level`, how it learns that from what the encoder responds to.

    `level` is that of the features whose heat maps it takes; None: it takes none, and `boxes_of` is never called. A box
    is 2n numbers, the low corner then the high corner, in index order, as shares of the array's shape.
    """

    level: Literal["auto", "deepest"] | int | None

    def window(
        self,
        shape: tuple[int, ...],
        index: int,
        rng: np.random.Generator,
        spacing: tuple[float, ...] | None = None,
        view: int = 0,
    ) -> Window:
        """Draw a window inside `shape` (*S) for a view of the sample numbered `index`; `spacing` in mm, index order."""

    def due(self, step: int) -> bool:
        """Whether boxes are to be renewed after `step` steps are done."""

    def boxes_of(self, maps: Iterable[Maps], size: Sequence[int], foreground: Tensor) -> tuple[Tensor, ...]:
        """Turn this rank's maps into tensors of equally many rows: the samples' numbers (N,), their boxes (N,2n), more.

        `size` is that of the images that gave the maps; `foreground` (samples,2n) holds the box of each body.
        """

    def set_boxes(self, *found: Tensor) -> None:
        """Take what `boxes_of` returned, gathered over ranks: all of them hold the same boxes afterwards."""

    def box(self, index: int) -> Sequence[float] | None:
        """The box (2n) of a sample; None while there is none."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it: tensors and numbers."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Become what `state` says."""

    def statistics(self) -> dict[str, float]:
        """What is logged at each renewal."""
