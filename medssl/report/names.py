"""What the logged names mean, and what a guess would reach."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Meaning(NamedTuple):
    """A title in plain words, what the number says, and its chance level if there is one."""

    title: str
    text: str
    chance: str | float | None = None  # a logged name, or a number


KNOWN = [  # the first pattern that matches a whole name counts
    (
        r"loss\.discrimination",
        Meaning("Discrimination loss", "How badly a view finds the other view of its image.", "metric.chance"),
    ),
    (r"loss\.restoration", Meaning("Restoration loss", "Error of the restored image against the original.")),
    (r"loss\.adversarial", Meaning("Adversarial loss", "How well the discriminator tells restored from real.")),
    (
        r"loss\.discriminator",
        Meaning("Discriminator loss", "The discriminator's own loss: the opponent's side."),
    ),
    (r"loss\.bank", Meaning("Bank loss", "AdCo's learned negatives, which try to raise the discrimination loss.")),
    (r"loss\.(.*)", Meaning(r"Loss: \1", "Lower is better.")),
    (r"metric\.top1", Meaning("Top-1", "Share of views whose nearest candidate is the other view of their image.")),
    (
        r"metric\.effective_rank",
        Meaning("Effective rank", "Directions that embeddings use; 1 is collapse, the batch size the most."),
    ),
    (r"metric\.embedding_std", Meaning("Spread of embeddings", "Standard deviation over images; 0 is collapse.")),
    (
        r"metric\.rank_level(\d+)",
        Meaning(r"Effective rank, level \1", "Of the encoder's features; level 0 is the finest."),
    ),
    (
        r"metric\.between_level(\d+)",
        Meaning(r"Between images, level \1", "Share of the features' variance that differs between images."),
    ),
    (r"metric\.weight_norm", Meaning("Weight norm", "Length of all encoder weights; steady growth slows learning.")),
    (r"metric\.masked", Meaning("Masked negatives", "Share of negatives left out: same patient, or too similar.")),
    (r"metric\.max_cosine", Meaning("Nearest negative", "Cosine to the most similar negative.")),
    (r"metric\.chance", Meaning("Chance level", "The discrimination loss of a guess.")),
    (r"metric\.guided_crops", Meaning("Guided crops", "Share of crops that ContrastiveCrop's boxes change.")),
    (r"metric\.best", Meaning("Best validation score so far", "Its weights are tested and used.")),
    (
        r"metric\.probe_auc",
        Meaning("Online probe: AUC", "A linear model on frozen features, on held-out images.", 0.5),
    ),
    (r"metric\.probe_(.*)", Meaning(r"Online probe: \1", "A linear model on frozen features, on held-out images.")),
    (r"metric\.val_auc", Meaning("Validation AUC", "Mean over classes, one against the rest.", 0.5)),
    (r"metric\.val_auc\.(.*)", Meaning(r"Validation AUC: \1", "This class against the rest.", 0.5)),
    (
        r"metric\.val_balanced_accuracy",
        Meaning("Validation balanced accuracy", "Mean share of each class that is recognised.", "classes"),
    ),
    (r"metric\.val_dice", Meaning("Validation Dice", "Overlap of predicted and true masks, mean over classes.")),
    (r"metric\.val_cpm", Meaning("Validation CPM", "Mean sensitivity at 1/8 to 8 false alarms per image.")),
    (
        r"metric\.val_sensitivity_at_(.*)_fp",
        Meaning(r"Validation sensitivity at \1", "Share of the lesions found at so many false alarms per image."),
    ),
    (r"metric\.val_(.*)", Meaning(r"Validation \1", "On the validation cases.")),
    (r"metric\.(.*)", Meaning(r"\1", "")),
    (r"lr", Meaning("Learning rate", "Of the main network.")),
    (r"lr\.(.*)", Meaning(r"Learning rate: \1", "Of this optimizer.")),
]


def meaning(name: str) -> Meaning:
    """What a logged name says; one that is not known keeps its name."""
    for pattern, found in KNOWN:
        if matched := re.fullmatch(pattern, name):
            return found._replace(title=matched.expand(found.title).replace("_", " "))
    return Meaning(name, "")


def chance(name: str, lines: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Steps and values of the chance level of a name; empty if it has none."""
    level = meaning(name).chance
    if level == "classes":
        count = len({key for line in lines for key in line if key.startswith("metric.val_auc.")})
        level = 1 / count if count > 1 else None
    if level is None:
        return [], []
    if isinstance(level, str):
        logged = [(line["step"], line[level]) for line in lines if isinstance(line.get(level), int | float)]
        return [step for step, _ in logged], [value for _, value in logged]
    steps = [line["step"] for line in lines if name in line]
    return ([steps[0], steps[-1]], [level, level]) if steps else ([], [])
