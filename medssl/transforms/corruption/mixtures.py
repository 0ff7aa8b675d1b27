"""Mixtures of corruptions: one of several, or several in a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.transforms.corruption.base import Corruption

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection
    from torch import Tensor

    from medssl.transforms.base import Params


class RandOneOfd(Corruption):
    """One of several corruptions, each with its probability; with the remaining probability none.

    Args:
        choices: pairs of a probability and a corruption.
        keys: keys of the images (C,*S); all keys get the same random change.
        prob: factor on all probabilities.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.
    """

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
        """Draw one corruption and its parameters; None if there is none."""
        r = rng.random() / self.prob if self.prob else 1.0
        for i, limit in enumerate(self.limits):
            if r <= limit:
                return {"choice": i, "params": self.choices[i].draw(rng, shape)}
        return None

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply the corruption that was drawn."""
        return self.choices[params["choice"]].apply(x, params["params"])

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Apply to each sample the corruption drawn for it."""
        for number, choice in enumerate(self.choices):
            x = choice.apply_batch(x, [p["params"] if p["choice"] == number else None for p in drawn])
        return x

    def describe(self, params: Params) -> list[tuple[str, Params]]:
        """The corruption that was drawn, with its parameters."""
        return self.choices[params["choice"]].drew(params["params"])

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark what the drawn corruption changed."""
        changed |= self.choices[params["choice"]].mask((1, *changed.shape), params["params"])[0]


class RandChaind(Corruption):
    """Several corruptions in a row, each with its own probability.

    Args:
        steps: the corruptions.
        keys: keys of the images (C,*S); all keys get the same random change.
        prob: probability that any of them is applied.
        allow_missing_keys: whether a missing key is skipped; otherwise it is an error.
    """

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
        """Draw the parameters of each corruption."""
        return {"steps": [step.draw(rng, shape) for step in self.steps]}

    def change(self, x: np.ndarray, params: Params) -> np.ndarray:
        """Apply the corruptions in their order."""
        for step, drawn in zip(self.steps, params["steps"], strict=True):
            x = step.apply(x, drawn)
        return x

    def change_batch(self, x: Tensor, drawn: list[Params]) -> Tensor:
        """Apply each corruption to the samples for which it was drawn."""
        for number, step in enumerate(self.steps):
            x = step.apply_batch(x, [p["steps"][number] for p in drawn])
        return x

    def describe(self, params: Params) -> list[tuple[str, Params]]:
        """The corruptions that were drawn, with their parameters."""
        return [found for step, drawn in zip(self.steps, params["steps"], strict=True) for found in step.drew(drawn)]

    def fill_mask(self, changed: np.ndarray, params: Params) -> None:
        """Mark what any of them changed."""
        for step, drawn in zip(self.steps, params["steps"], strict=True):
            changed |= step.mask((1, *changed.shape), drawn)[0]
