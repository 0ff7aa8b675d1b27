"""Mixtures of corruptions: one of several, or several one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.corruption.base import Corruption

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class RandOneOfd(Corruption):
    """One of several corruptions, each with its probability; none with what is left."""

    def __init__(
        self,
        choices: list[tuple[float, Corruption]],
        keys: KeysCollection = "image",
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.limits = np.cumsum([p for p, _ in choices]).tolist()
        self.choices = [c for _, c in choices]

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params | None:
        """Draw which, and its own parameters; None if none."""
        r = rng.random() / self.prob if self.prob else 1.0
        for i, limit in enumerate(self.limits):
            if r <= limit:
                return {"choice": i, "params": self.choices[i].draw(rng, shape)}
        return None

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply the one."""
        return self.choices[params["choice"]].apply(x, params["params"])

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Apply to each sample the one that was drawn for it."""
        for number, choice in enumerate(self.choices):
            x = choice.apply_batch(x, [p["params"] if p["choice"] == number else None for p in drawn])
        return x

    def describe(self, params: Params) -> list[tuple[str, Params]]:
        """What the one that was drawn did."""
        return self.choices[params["choice"]].drew(params["params"])

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark what the one marks."""
        changed |= self.choices[params["choice"]].mask((1, *changed.shape), params["params"])[0]


class RandChaind(Corruption):
    """Several corruptions one after the other, each with its own probability."""

    def __init__(
        self,
        steps: list[Corruption],
        keys: KeysCollection = "image",
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.steps = steps

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Draw each."""
        return {"steps": [step.draw(rng, shape) for step in self.steps]}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply each."""
        for step, drawn in zip(self.steps, params["steps"], strict=True):
            x = step.apply(x, drawn)
        return x

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Apply each to the samples for which it was drawn."""
        for number, step in enumerate(self.steps):
            x = step.apply_batch(x, [p["steps"][number] for p in drawn])
        return x

    def describe(self, params: Params) -> list[tuple[str, Params]]:
        """What each that was drawn did."""
        return [found for step, drawn in zip(self.steps, params["steps"], strict=True) for found in step.drew(drawn)]

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark what any marks."""
        for step, drawn in zip(self.steps, params["steps"], strict=True):
            changed |= step.mask((1, *changed.shape), drawn)[0]
