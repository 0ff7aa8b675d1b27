"""Hypothesis draws the same examples each time: a change breaks a test, not the day on which it runs."""

from __future__ import annotations

import logging

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def predict_bright(monkeypatch):
    """Let `predict` use the network of a run as one that finds what is brighter than `least` of the range."""

    def use(run, least):
        import torch

        from medssl.finetuning.predict import load

        trained = load(run)

        class Bright(type(trained.model)):
            def forward(self, x):
                return torch.cat([least - x, x - least], dim=1) * 1000

        trained.model.__class__ = Bright
        monkeypatch.setattr("medssl.finetuning.predict.load", lambda _: trained)

    return use


@pytest.fixture
def said(caplog):
    """What the library said since it was last asked."""
    caplog.set_level(logging.INFO, "medssl")

    def sentences() -> str:
        found = "\n".join(record.getMessage() for record in caplog.records if record.name == "medssl")
        caplog.clear()
        return found

    return sentences
