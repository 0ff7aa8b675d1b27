"""Few labels: draws of training images, and probes trained on each draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medssl.probing.choice import Probe


def draw(
    ids: Sequence[str], groups: Sequence[str], n: int, seed: int, classes: Sequence[str] | None = None
) -> list[str]:
    """Draw `n` ids (per class, if `classes` are given), at most one per group (patient); returns them sorted.

    For one `seed`, a smaller draw is part of every larger one, and the order of `ids` does not matter. Raises
    `InputError` if a class has fewer groups than `n`.
    """
    of_class: dict[str, dict[str, list[str]]] = {}
    for name, group, label in zip(ids, groups, classes or [""] * len(ids), strict=True):
        of_class.setdefault(label, {}).setdefault(group, []).append(name)
    chosen = []
    for number, (label, of_group) in enumerate(sorted(of_class.items())):
        if len(of_group) < n:
            what = f"of class {label}" if label else "with a label"
            raise InputError(
                f"{n} training images {what} were requested, but there are {len(of_group)} patients: request fewer"
            )
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(sorted(of_group))
        firsts = [sorted(of_group[group])[int(rng.integers(len(of_group[group])))] for group in order]
        chosen += firsts[:n]
    return sorted(chosen)


def predict(
    fit: Callable[..., Probe],
    x: Mapping[str, np.ndarray],
    y: Mapping[str, np.ndarray],
    draws: Mapping[str, Sequence[str]],
    val: Sequence[str],
    test: Sequence[str],
    **settings: object,
) -> dict[str, np.ndarray]:
    """The probabilities (N,K) of the `test` ids for each draw of training ids, by a probe that `fit` makes.

    `x` has the features (D,) and `y` the classes as zeros and ones (K,) of each id; `val` chooses the strength.
    """

    def rows(of: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
        return np.stack([of[name] for name in names])

    validation = (rows(x, val), rows(y, val)) if val else (None, None)
    tested = rows(x, test)
    return {
        name: fit(rows(x, ids), rows(y, ids), *validation, **settings).predict(tested) for name, ids in draws.items()
    }
