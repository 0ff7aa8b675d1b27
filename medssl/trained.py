"""Trained networks as objects: what a run learned, with what is needed to use it elsewhere."""

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
        strides: how many voxels of the image a cell of each level spans, one number per axis where axes differ.
        divisor: what the sides of an image must be divisible by.
        spatial_dims: 2 or 3.
        in_channels: C of the images.
        preprocessing: how `medssl prepare` made its images (preset, spacing, ...).

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
        classes: names of what is predicted; in segmentation the background comes before them.
        size: the size that it was trained with: of a patch in segmentation, else of the whole image.
        spatial_dims, in_channels, preprocessing: as of an `Encoder`.
    """

    def __init__(self, trained: predict.Trained) -> None:
        super().__init__()
        self.network, self._task = trained.model, trained.task
        self.classes, self.size = tuple(trained.task.classes), trained.size
        self.spatial_dims, self.in_channels = len(trained.size), trained.channels
        self.preprocessing = trained.preprocessing

    def forward(self, x_BC: Tensor) -> Tensor:
        """Logits of images, or patches, of the size that the network was trained with."""
        logits: Tensor = self.network(x_BC)
        return logits

    def probabilities(self, x_BC: Tensor) -> Tensor:
        """(B,K,*S) for segmentation, by a sliding window over images of any size, else (B,K)."""
        return self._task.predict(self.network, x_BC, self.size)


def load_encoder(where: str | os.PathLike[str]) -> Encoder:
    """The encoder of a run, a checkpoint, an export (safetensors, huggingface) or medssl:NAME, in evaluation mode.

    Raises `InputError` for weights that come without the recipe of their network.
    """
    network, recipe, content = frozen.network(where)
    return Encoder(network, recipe, content["preprocessing"]).eval()


def load_model(where: str | os.PathLike[str]) -> Model:
    """The network of a fine-tuning with its best weights, in evaluation mode. Raises `InputError` if it is none."""
    return Model(predict.load(Path(where))).eval()
