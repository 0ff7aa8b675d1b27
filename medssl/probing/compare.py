"""Compare a frozen encoder with its baselines: the same probes of each, with all labels and with few.

N images, K classes. Recipes are unknown here: features, truth and a scoring function are arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.probing import baselines, few_shot, linear, neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medssl.probing.features import Pool, Pooled

    Judge = Callable[[Sequence[str], np.ndarray], float]  # of ids and their probabilities (N,K)

OWN, UNTRAINED, PIXELS, PRIOR = "this encoder", "untrained", "8x8 pixels", "label prior"
METHODS: dict[str, Any] = {"logistic": linear.fit, "neighbours": neighbours.fit}
ALL = "all"  # the draw of all training images


class Arm(NamedTuple):
    """A network, which of its features are probed, and by which probe."""

    network: str  # OWN, UNTRAINED, PIXELS or PRIOR
    features: str
    probe: str


class Question(NamedTuple):
    """What a probe predicts: targets as zeros and ones (K,) by id, and the ids for training, validation and test."""

    truth: Mapping[str, np.ndarray]
    train: Sequence[str]
    val: Sequence[str]
    test: Sequence[str]
    multilabel: bool

    @property
    def ids(self) -> list[str]:
        """All ids, each once."""
        return [*self.train, *self.val, *self.test]


def answers(
    question: Question, pooled: Mapping[str, Pooled], arm: Arm, draws: Mapping[str, Sequence[str]], level: int = -1
) -> dict[str, dict[str, np.ndarray]]:
    """Probabilities of the val and the test ids, in order, for each network of an arm and each draw of training ids.

    `pooled` has features of `question.ids`, in order, by network name; names that start with the arm's belong to it.
    """
    found = {}
    for name, features in pooled.items():
        if name.startswith(arm.network):
            pool: Pool = "mean" if arm.network == PIXELS else arm.features  # type: ignore[assignment]
            x = dict(zip(question.ids, features.select(pool, -1 if arm.network == PIXELS else level), strict=True))
            asked = [*question.val, *question.test]
            found[name] = few_shot.predict(
                METHODS[arm.probe], x, question.truth, draws, question.val, asked, multilabel=question.multilabel
            )
    return found


def arms(pools: Sequence[str], method: str) -> list[Arm]:
    """All arms: every kind of features and every probe of each network, the chosen `method` first."""
    methods = sorted(METHODS, key=lambda name: name != method)
    of_networks = [Arm(network, pool, name) for name in methods for pool in pools for network in (OWN, UNTRAINED)]
    return of_networks + [Arm(PIXELS, "pixels", name) for name in methods]


def draws(
    question: Question, groups: Mapping[str, str], shots: Sequence[int], times: int, seed: int
) -> dict[str, list[str]]:
    """All training ids, and `times` draws for each number in `shots` (per class; multilabel: in total)."""
    found: dict[str, list[str]] = {ALL: list(question.train)}
    patients = [groups[name] for name in question.train]
    classes = None if question.multilabel else [f"{question.truth[name].argmax():04d}" for name in question.train]
    for n in shots:
        for number in range(times):
            found[shot(n, number)] = few_shot.draw(question.train, patients, n, seed + number, classes)
    return found


def shot(n: int, number: int) -> str:
    """The name of a draw."""
    return f"n{n}_draw{number}"


def prior(question: Question) -> np.ndarray:
    """The frequency of each class in training, for every test image: (test,K)."""
    return baselines.prior(np.stack([question.truth[name] for name in question.train]), len(question.test))


def rows(
    arm: Arm, values: Mapping[str, Mapping[str, float]], shots: Sequence[int], times: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Entries of the tables with all and with few labels, from `values` by network and draw.

    With all labels, the repetitions are the networks of an arm; with few labels, the draws, averaged over networks.
    """
    mine = [of for name, of in values.items() if name.startswith(arm.network)]
    if not mine:
        return [], []
    few = [[float(np.mean([of[shot(n, i)] for of in mine])) for i in range(times)] for n in shots]
    return [row(arm, [of[ALL] for of in mine])], [row(arm, of, shots=n) for n, of in zip(shots, few, strict=True)]


def row(arm: Arm, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """An entry of a table: the mean over repetitions, and each value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {**arm._asdict(), **more, "value": float(np.mean(values)), "sd": spread, "values": list(map(float, values))}


def text(rows: Sequence[Mapping[str, Any]], score: str) -> list[str]:
    """The table as lines of text."""
    lines = []
    for one in rows:
        spread = f" ± {one['sd']:.4f} (n={len(one['values'])})" if one["sd"] is not None else ""
        few = f"{one['shots']:>4} images: " if one.get("shots") else ""
        what = ", ".join(part for part in (one["network"], one["features"], one["probe"]) if part)
        lines.append(f"  {few}{what}: {score} {_shown(one['value'])}{spread}")
    return lines


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
