"""`kind: X` is the module X in the package of its group, or a dotted path to a module of the user."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medssl.messages import suggest
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

PACKAGES = {
    "encoder": "medssl.models.encoder",
    "decoder": "medssl.models.decoder",
    "method": "medssl.methods",
    "crop": "medssl.crop",
    "intensity": "medssl.transforms.intensity",
    "corrupt": "medssl.transforms.corruption",
    "task": "medssl.tasks",
    "tuning": "medssl.engine.tuning",
    "export": "medssl.export",
}
ENTRY = {"export": "export"}  # the function that a module of the group must have, if not `build`


def kinds(group: str) -> list[str]:
    """The kinds of a group: the modules of its package that have a `build`."""
    package = import_module(PACKAGES[group])
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [name for name in names if hasattr(import_module(f"{package.__name__}.{name}"), _entry(group))]


def resolve(group: str, kind: str) -> ModuleType:
    """The module of a kind; a dotted kind is the path of a module of the user. Raises `InputError`."""
    path = kind if "." in kind else f"{PACKAGES[group]}.{kind}"
    if not all(part.isidentifier() for part in path.split(".")):
        raise InputError(_unknown(group, kind))
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise InputError(f"{_said(group, kind)} needs the package {error.name}: install it with pip") from error
        raise InputError(_unknown(group, kind)) from error
    if not hasattr(module, _entry(group)):
        raise InputError(_unknown(group, kind))
    return module


def varied(module: Any, settings: Mapping[str, Any]) -> Any:
    """The module of a kind, or what it is for these settings where it has a `variant(settings)`."""
    return module.variant(settings) if hasattr(module, "variant") else module


def named(function: Callable[..., Any], supplied: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `supplied` that are parameters of `function`: a kind takes only what it needs."""
    wanted = inspect.signature(function).parameters
    return {name: value for name, value in supplied.items() if name in wanted}


def _entry(group: str) -> str:
    return ENTRY.get(group, "build")


def _unknown(group: str, kind: str) -> str:
    said = _said(group, kind)
    if "." in kind:
        return f"{said} is not a module with a function `{_entry(group)}`: check the path and PYTHONPATH"
    return f"{said} does not exist{suggest(kind, kinds(group))}"


def _said(group: str, kind: str) -> str:
    return f"--to {kind}" if group == "export" else f"{group}.kind={kind}"
