"""Trained networks as objects, with the preprocessing that their images need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from medssl.finetuning import predict
from medssl.probing import frozen

if TYPE_CHECKING:
    import os

    from medssl.recipe import Recipe
    from medssl.types import Features


class Encoder(nn.Module):
    """A trained encoder: images (B,C,*S) in [0, 1] -> feature maps (B,C_i,*S_i), fine to coarse.

    Attributes:
        network: the module itself, whose `state_dict` has the names of exported weights.
        channels: C_i of each level.
        strides: how many voxels a cell of each level spans; one number per axis if axes differ.
        divisor: number by which the sides of an image must be divisible.
        spatial_dims: 2 or 3.
        in_channels: C of the images.
        preprocessing: the settings of `medssl prepare` for its images (preset, spacing, ...).

    Example:
        >>> encoder = medssl.load_encoder("runs/pretrain")  # doctest: +SKIP
        >>> encoder(torch.rand(1, 1, 64, 64, 64))[-1].shape  # doctest: +SKIP
        torch.Size([1, 256, 4, 4, 4])
    """

    def __init__(self, network: Any, recipe: Recipe, preprocessing: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.channels, self.strides, self.divisor = network.channels, network.strides, network.divisor
        self.spatial_dims, self.in_channels = recipe.spatial_dims, recipe.channels
        self.preprocessing = preprocessing

    def forward(self, x_BC: Tensor) -> Features:
        """Feature maps of images (B,C,*S)."""
        features: Features = self.network(x_BC)
        return features


class Model(nn.Module):
    """A fine-tuned network: images (B,C,*S) in [0, 1] -> logits, (B,K,*S) for segmentation or (B,K) for classes.

    Attributes:
        network: the module itself.
        classes: names of the predicted classes; in segmentation, the background comes before them.
        size: size of the training images: of patches in segmentation, else of whole images.
        spatial_dims: 2 or 3.
        in_channels: C of the images.
        preprocessing: the settings of `medssl prepare` for its images.
    """

    def __init__(self, trained: predict.Trained) -> None:
        super().__init__()
        self.network, self._task = trained.model, trained.task
        self.classes, self.size = tuple(trained.task.classes), trained.size
        self.spatial_dims, self.in_channels = len(trained.size), trained.channels
        self.preprocessing = trained.preprocessing

    def forward(self, x_BC: Tensor) -> Tensor:
        """Logits of images or patches of the training size."""
        logits: Tensor = self.network(x_BC)
        return logits

    def probabilities(self, x_BC: Tensor) -> Tensor:
        """Probabilities (B,K,*S) for segmentation, by a sliding window over images of any size, else (B,K)."""
        return self._task.predict(self.network, x_BC, self.size)


def load_encoder(where: str | os.PathLike[str]) -> Encoder:
    """Load the encoder of a run, in evaluation mode.

    Args:
        where: a run directory, a checkpoint (.pt), an export (safetensors, huggingface), or medssl:NAME.

    Returns:
        The encoder, with its channels, strides and preprocessing.

    Raises:
        InputError: there are no such weights, or they come without the recipe of their network.
    """
    network, recipe, content = frozen.network(where)
    return Encoder(network, recipe, content["preprocessing"]).eval()


def load_model(where: str | os.PathLike[str]) -> Model:
    """Load the network of a fine-tuning with its best weights, in evaluation mode.

    Args:
        where: the run directory of a fine-tuning, or its checkpoint.

    Returns:
        The network, with its classes, size and preprocessing.

    Raises:
        InputError: `where` is not a fine-tuning.
    """
    return Model(predict.load(Path(where))).eval()
