"""Checks for your own methods, encoders, transforms, crop policies, tasks and export formats.

Each check tests the rules ("laws") that a part must obey, and names the law that fails and what was seen instead.

>>> from medssl.testing import check_crop
>>> check_crop("random")

A part is named as in a recipe (`"moco_v2"`, `"my.byol"`), or given as a module with `build` or as the function `build`;
keywords are its settings. A law that fails raises `LawError`. torch is imported when the first check is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

CHECKS = {
    "check_crop": "crop",
    "check_encoder": "encoder",
    "check_exporter": "exporter",
    "check_method": "method",
    "check_task": "task",
    "check_transform": "transform",
    "LawError": "laws",
    "small": "laws",
}
__all__ = sorted(CHECKS)


def __getattr__(name: str) -> Any:
    if name not in CHECKS:
        raise AttributeError(f"module {__name__} has no {name}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{CHECKS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
