"""Figures of restoration: the input, the restored image, the target, and the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure  # no pyplot: no global state, no window

from medssl.report.panels import GROUND, cut, strongest
from medssl.report.view_geometry import most_changed_slice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

CELL, HEAD, LABEL = 1.7, 0.75, 0.3  # inches


class Restored(NamedTuple):
    """One sample, arrays (C,*S) in [0, 1]; `mask` (1,*S) is true where it was corrupted."""

    id: str
    seen: np.ndarray
    made: np.ndarray
    target: np.ndarray
    mask: np.ndarray


def errors(samples: Sequence[Restored]) -> dict[str, float]:
    """Mean squared errors of the restoration, and of baselines that need no network.

    `mean image` is the mean of the other targets, so that no sample predicts itself; NaN if there is one sample only.
    """
    targets = np.stack([sample.target for sample in samples])
    others = [np.delete(targets, i, axis=0).mean(0) for i in range(len(samples))] if len(samples) > 1 else []
    mean = [float(((target - other) ** 2).mean()) for target, other in zip(targets, others, strict=False)]
    return {
        "restored": _mse([sample.made for sample in samples], targets),
        "as seen": _mse([sample.seen for sample in samples], targets),
        "mean image": float(np.mean(mean)) if mean else float("nan"),
        "zero": float((targets**2).mean()),
    }


def sheet(samples: Sequence[Restored]) -> Figure:
    """Draw one row per sample; of volumes, an axial slice that shows the corruption.

    The title gives the errors beside those of the baselines.
    """
    heads = ("input", "restored", "target", "restored − target")
    width, height = CELL * len(heads) + 0.2, HEAD + len(samples) * (CELL + LABEL)
    figure = Figure(figsize=(width, height), facecolor="white")
    found = ", ".join(f"{name} {value:.4f}" for name, value in errors(samples).items())
    figure.text(
        0.1 / width, 1 - 0.12 / height, f"mean squared error of these {len(samples)}: {found}", va="top", fontsize=8
    )
    for row, sample in enumerate(samples):
        top = HEAD + row * (CELL + LABEL)
        at = most_changed_slice(sample.seen - sample.target, sample.mask)[0]
        name = sample.id if sample.seen.ndim == 3 else f"{sample.id}   axial slice {at + 1} of {sample.seen.shape[1]}"
        figure.text(0.1 / width, 1 - (top - 0.06) / height, name, fontsize=7, va="bottom", color="#77838f")
        whole = (sample.seen, sample.made, sample.target, sample.made - sample.target)
        pictures = [cut(picture, 0, at) for picture in whole]
        for column, (head, picture) in enumerate(zip(heads, pictures, strict=True)):
            place = (
                (0.1 + column * CELL) / width,
                1 - (top + CELL) / height,
                (CELL - 0.06) / width,
                (CELL - 0.06) / height,
            )
            axes = figure.add_axes(place, facecolor=GROUND)
            _show(axes, picture, difference=column == 3, volume=sample.seen.ndim == 4)
            if row == 0:
                axes.text(0.5, 1.16, head, transform=axes.transAxes, ha="center", fontsize=8, fontweight="bold")
    return figure


def _show(axes: Axes, picture: np.ndarray, *, difference: bool, volume: bool) -> None:
    flat = picture[:, ::-1, ::-1] if volume else picture  # anterior up, the patient's right on the left
    axes.set(xticks=[], yticks=[])
    if difference:
        axes.imshow(strongest(flat), cmap="RdBu_r", vmin=-0.5, vmax=0.5)
    elif len(flat) == 3:
        axes.imshow(np.clip(flat.transpose(1, 2, 0), 0, 1))
    else:
        axes.imshow(flat[0], cmap="gray", vmin=0, vmax=1)


def _mse(answers: Sequence[np.ndarray], targets: np.ndarray) -> float:
    return float(((np.stack(answers) - targets) ** 2).mean())
