"""The types that all parts of medssl share, and the meaning of the letters in shapes.

V views, B batch, C channels, D length of an embedding, K negatives in the bank or queue, *S = H,W or D,H,W.
Arrays in memory and in the cache have the channel first, then the axes in index order: (C,Y,X) or (C,Z,Y,X).
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
    """The user's input is wrong. The message is one sentence: what is wrong, both values, what to do. Exit code 2."""

    quiet = False  # true where another rank prints the same message


class Interrupted(Exception):  # noqa: N818  (not an error: the run stopped as asked, with a checkpoint written)
    """A signal stopped the run after a checkpoint was written. Exit code 75, so that a scheduler can requeue it."""

    quiet = False  # true where another rank prints the same message


class Window(NamedTuple):
    """A rectangular region of a cached array, in voxels and index order.

    It lies inside the array: `start[i] >= 0` and `start[i] + size[i] <= shape[i]`.
    """

    start: tuple[int, ...]
    size: tuple[int, ...]


class Box(NamedTuple):
    """A labelled box in voxels of the cached array, index order, half-open."""

    label: str
    start: tuple[float, ...]
    stop: tuple[float, ...]
    ignore: bool = False  # neither asked for nor held against what finds it
    diameter_mm: float | None = None  # of a point with a diameter, around which the box lies


class View(NamedTuple):
    """One view of one sample, as numpy arrays in [0, 1]."""

    x: np.ndarray  # (C,*S) float32: what the method compares
    target: np.ndarray  # (C,*S) float32: the same geometry, without intensity changes and corruption
    mask: np.ndarray  # (1,*S) bool: true where the corruption erased or moved voxels
    window: Window
    drawn: Mapping[str, Any]  # the random parameters by transform name, enough to make the view again
    corrupted: np.ndarray | None = None  # (C,*S) float32: corrupted copy of x, input of restoration; None: x itself

    @property
    def seen(self) -> np.ndarray:
        """The input of restoration (C,*S)."""
        return self.x if self.corrupted is None else self.corrupted


class Views(NamedTuple):
    """A batch of views. `x` is a tuple, since multi-crop views differ in size.

    With `views.corrupt_for=all` the views in `x` are corrupted, and view 0 is also the input of restoration. With
    `restore` they are not, and `corrupted` holds a corrupted copy of view 0 for restoration: the same crop, geometry
    and intensity changes, then the corruption.
    """

    x: tuple[Tensor, ...]  # V tensors (B,C,*S) float32 in [0, 1]: what the method compares
    target: Tensor  # (B,C,*S): restoration target of view 0
    mask: Tensor  # (B,1,*S) bool: where view 0 was corrupted
    sample: Tensor  # (B,) int64: index of the sample in the training set
    patient: Tensor  # (B,) int64: number of its patient in the training set
    corrupted: Tensor | None = None  # (B,C,*S): input of restoration; None: view 0 of `x`


class Losses(NamedTuple):
    """The losses of a pretext task. Both dictionaries hold scalars by name."""

    main: dict[str, Tensor]  # minimised by encoder, decoder and heads
    adversaries: dict[str, Tensor]  # each minimised by the adversary of that name; only its parameters get a gradient


class Maps(NamedTuple):
    """Heat maps of a batch of samples, at the resolution of a feature level."""

    sample: Tensor  # (B,) int64: index of the sample in the training set
    heat: Tensor  # (B,*S)
    inside: Tensor | None = None  # (B,*S) bool: cells that contain part of the body; None: all cells


class Encoder(Protocol):
    """A network from images to features: a torch module whose attributes describe its features."""

    channels: Sequence[int]  # of each level, fine to coarse
    strides: Sequence[int | tuple[int, ...]]  # of each level: a feature map has the size ceil(S / stride)
    divisor: int | tuple[int, ...]  # image sizes must be multiples of this; others raise InputError

    def __call__(self, x_BC: Tensor) -> Features:
        """Images (B,C,*S) -> one feature map (B,channels[i],*S_i) per level, fine to coarse."""


class Exporter(Protocol):
    """A module that writes weights in some format. It may also have `load(folder)`: the encoder's tensors by name."""

    def export(self, run: Path, out: Path) -> Path:
        """Write the weights of `run` into the folder `out`; returns `out`. Raises InputError if it is not empty."""


class CropPolicy(Protocol):
    """Decides where in the image a view is cropped.

    A policy may learn from heat maps of the encoder. `level` then names the feature level that they are made from; if
    `level` is None there are no heat maps, and `boxes_of` is never called. A box is 2n numbers, the low corner then
    the high corner in index order, as fractions of the array's shape.
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
        """Draw a window inside `shape` (*S) for view number `view` of sample `index`; `spacing` in mm, index order."""

    def due(self, step: int) -> bool:
        """Whether the boxes are to be computed again once `step` steps are done."""

    def boxes_of(self, maps: Iterable[Maps], size: Sequence[int], foreground: Tensor) -> tuple[Tensor, ...]:
        """Turn this rank's heat maps into tensors of equal length: sample numbers (N,), their boxes (N,2n), and more.

        `size` is the size of the images that the maps come from; `foreground` (samples,2n) holds the box around each
        body.
        """

    def set_boxes(self, *found: Tensor) -> None:
        """Store the result of `boxes_of`, gathered over ranks: all ranks hold the same boxes afterwards."""

    def box(self, index: int) -> Sequence[float] | None:
        """The box (2n) of a sample; None before boxes are set."""

    def state(self) -> dict[str, Any]:
        """The policy's state for a checkpoint: tensors and numbers."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the policy from `state`."""

    def statistics(self) -> dict[str, float]:
        """The numbers to log whenever the boxes are computed."""
