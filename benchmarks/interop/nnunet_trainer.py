"""Trainers for `nnunet.sh`: one epoch of two iterations, no final validation, the weights before and after kept.

It is copied to the top of nnU-Net's folder of trainers: deeper folders are searched after ones that import timm.
"""

from __future__ import annotations

import os

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class Short:
    """One epoch of two iterations."""

    def initialize(self):  # __init__ must keep nnU-Net's own arguments, which it looks at
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 2, 1
        super().initialize()

    def on_train_start(self):
        super().on_train_start()
        self.seen = {"start": self._weights()}

    def on_train_end(self):
        torch.save({**self.seen, "end": self._weights()}, os.environ["SEEN"])
        super().on_train_end()

    def perform_actual_validation(self, save_probabilities=False):
        pass

    def _weights(self):
        return {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}


class MedsslOneEpoch(Short, nnUNetTrainer):
    """For -pretrained_weights."""


try:
    from nnunetv2.training.nnUNetTrainer.pretraining.pretrainedTrainer import PretrainedTrainer
except ImportError:  # released nnU-Net has none
    pass
else:

    class MedsslOneEpochPretrained(Short, PretrainedTrainer):
        """For the route for nnssl."""
