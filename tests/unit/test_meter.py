"""What a step costs."""

from __future__ import annotations

import builtins

import torch

from medssl.engine import meter

CPU = torch.device("cpu")


def test_peak_memory_is_what_the_process_has_held():
    before = meter.peak_memory(CPU)
    held = torch.ones(2**25)  # 128 MiB
    after = meter.peak_memory(CPU)
    assert held.sum() == 2**25
    assert 100 * meter.MIB < after < 2**37, "in bytes, not in units of 1,024"
    assert after >= before


def test_units_of_each_system():
    assert meter.in_bytes(2048, "linux") == 2 * 2**20
    assert meter.in_bytes(2 * 2**20, "darwin") == 2 * 2**20


def test_a_system_that_does_not_tell_leaves_memory_out(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "resource":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert meter.peak_memory(CPU) is None
    assert set(meter.Meter(CPU, iter([])).read()) == {"time", "data_wait"}
