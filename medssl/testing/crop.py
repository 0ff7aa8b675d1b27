"""Laws of crop policies: windows lie inside the image, boxes are valid and are used, checkpoints are complete."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medssl.kinds import named
from medssl.testing import laws
from medssl.testing.laws import law
from medssl.types import CropPolicy, Maps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

SHAPES = {2: ((60, 50), (7, 90), (1, 1)), 3: ((30, 40, 36), (3, 60, 60), (1, 1, 1))}
SAMPLES, STEPS, VIEWS, LEVELS, DRAWS, CELLS = 4, 10, 2, 4, 60, 8


def check_crop(
    crop: str | ModuleType | Callable[..., Any], /, *, spatial_dims: Sequence[int] = (2, 3), **settings: Any
) -> None:
    """Check a crop policy in each of `spatial_dims`. Raises `LawError`.

    - It has the interface of `medssl.types.CropPolicy`.
    - Windows lie inside the array (also in an array of one voxel), are not empty, and depend on the generator only.
    - `due` returns true or false; a policy without `level` is never due.
    - With a `level`: heat maps give one row per sample; boxes are fractions of the array, low corner first; once boxes
      are set, windows lie closer to the hot region.
    - `state` can be saved to a file, and a new policy that loads it draws the same windows from the same boxes.

    Args:
        crop: the policy: a kind, a module or a `build`.
        spatial_dims: numbers of axes to check.
        settings: passed to `build`.
    """
    build = laws.build_of("crop", crop)
    supplied = {"samples": SAMPLES, "steps": STEPS, "views": VIEWS, "levels": LEVELS}

    def made(dims: int) -> CropPolicy:
        built: CropPolicy = build(**settings, **named(build, {**supplied, "spatial_dims": dims}))
        return built

    for dims in spatial_dims:
        with laws.within(f"a crop policy can be built in {dims}D"):
            policy = made(dims)
        laws.interface(policy, CropPolicy, "a crop policy")
        _check_windows(policy, dims)
        _check_due(policy)
        if policy.level is not None:
            _check_boxes(policy, dims)
            _check_windows(policy, dims)
        _check_state(policy, made(dims), dims)


def _windows(policy: CropPolicy, shape: tuple[int, ...], index: int = 0, draws: int = DRAWS) -> list[Any]:
    rng = np.random.default_rng(0)
    return [policy.window(shape, index, rng, (1.0,) * len(shape), number % VIEWS) for number in range(draws)]


def _check_windows(policy: CropPolicy, dims: int) -> None:
    for shape in SHAPES[dims]:
        with laws.within(f"a window of an array of {list(shape)} can be drawn"):
            found = _windows(policy, shape)
        for start, size in found:
            inside = all(0 <= a and 0 < n and a + n <= whole for a, n, whole in zip(start, size, shape, strict=True))
            law("windows lie inside the array and hold a voxel", inside, f"start {start}, size {size} of {list(shape)}")
        law("windows follow from the generator", found == _windows(policy, shape), "two of the same seed differ")


def _check_due(policy: CropPolicy) -> None:
    due = [policy.due(step) for step in range(STEPS + 1)]
    law("due is true or false", all(type(each) is bool for each in due), f"{due}")
    law(
        "a policy without a level is never due",
        policy.level is not None or not any(due),
        f"due at {due.index(True) if any(due) else None}",
    )


def _check_boxes(policy: CropPolicy, dims: int) -> None:
    shape = SHAPES[dims][0]
    law("there is no box before one is set", policy.box(0) is None, f"{policy.box(0)}")
    before = _centres(policy, shape)
    heat = torch.zeros(SAMPLES, *[CELLS] * dims)
    heat[(slice(None), *[slice(CELLS - 2, CELLS)] * dims)] = 1.0  # hot in the last corner
    body = torch.tensor([[0.0] * dims + [1.0] * dims] * SAMPLES, dtype=torch.float64)
    with laws.within("maps become boxes"):
        found = policy.boxes_of([Maps(torch.arange(SAMPLES), heat)], (4 * CELLS,) * dims, body)
    rows = [tuple(part.shape) for part in found]
    law("maps become one row per sample", bool(rows) and all(r[0] == SAMPLES for r in rows), f"{rows}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy.set_boxes(*found)
    for index in range(SAMPLES):
        box = policy.box(index)
        numbers = [] if box is None else [float(v) for v in box]
        corners = list(zip(numbers[:dims], numbers[dims:], strict=False))
        good = len(numbers) == 2 * dims and all(0 <= low <= high <= 1 for low, high in corners)
        law("a box is 2n shares of the array, the low corner first", good, f"{box} of sample {index}")
    gap = [abs(1 - 1 / CELLS - at).mean() for at in (before, _centres(policy, shape))]
    said = f"{gap[1]:.3f} of the array away on average, {gap[0]:.3f} before"
    law("once boxes are set, windows lie closer to the hot region", gap[1] < gap[0], said)
    logged = policy.statistics()
    good = all(isinstance(name, str) and np.isfinite(value) for name, value in logged.items())
    law("statistics are finite numbers by name", good, f"{logged}")


def _centres(policy: CropPolicy, shape: tuple[int, ...]) -> np.ndarray:
    windows = _windows(policy, shape, draws=4 * DRAWS)
    return np.array([[(a + n / 2) / whole for a, n, whole in zip(*w, shape, strict=True)] for w in windows])


def _check_state(policy: CropPolicy, other: CropPolicy, dims: int) -> None:
    name = "a new policy that loads a state from a file draws the same windows and holds the same boxes"
    with laws.within(name):
        file = io.BytesIO()
        torch.save(policy.state(), file)
        file.seek(0)
        other.load(torch.load(file, weights_only=True))
    for index in range(SAMPLES):
        same = _windows(policy, SHAPES[dims][0], index) == _windows(other, SHAPES[dims][0], index)
        law(name, same, f"other windows of sample {index}")
        one, two = (None if box is None else [float(v) for v in box] for box in (policy.box(index), other.box(index)))
        law(name, one == two, f"box {two} of sample {index} where the policy itself has {one}")
