"""Tools of the checks: laws that fail, building a part, parameters with a gradient, and phantom images."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from medssl.kinds import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from torch import Tensor

NOTHING = 1e-7  # smaller gradients, relative to the largest one, count as zero
WIDE, NARROW = 256, 16


class LawError(AssertionError):
    """A part breaks a law; the message names the law and what was seen instead."""


def law(name: str, holds: bool, seen: str) -> None:
    """Raise `LawError` unless the law `name` holds; `seen` describes what was seen instead."""
    if not holds:
        raise LawError(f"law broken: {name}; seen: {seen}")


@contextmanager
def within(name: str) -> Iterator[None]:
    """A context in which any other error becomes a `LawError` of the law `name`."""
    try:
        yield
    except LawError:
        raise
    except Exception as error:
        raise LawError(f"law broken: {name}; seen: {type(error).__name__}: {error}") from error


def build_of(group: str, part: str | ModuleType | Callable[..., Any]) -> Callable[..., Any]:
    """The `build` of a part given by its kind, as a module, or as `build` itself."""
    if isinstance(part, str):
        return resolve(group, part).build
    build: Callable[..., Any] = part.build if isinstance(part, ModuleType) else part
    return build


def small(build: Callable[..., Any]) -> dict[str, int]:
    """Settings that make a part quick to check: default widths of 256 and more become 16."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(build).parameters.items()}
    return {name: NARROW for name, value in defaults.items() if type(value) is int and value >= WIDE}


def interface(part: object, protocol: type, what: str) -> None:
    """The law that a part has all public attributes and methods of `protocol`."""
    names = {name for name in (*vars(protocol), *getattr(protocol, "__annotations__", ())) if not name.startswith("_")}
    missing = sorted(name for name in names if not hasattr(part, name))
    law(f"{what} has the interface that medssl uses", not missing, f"{type(part).__name__} lacks {', '.join(missing)}")


def alive(module: nn.Module, nothing: float = NOTHING) -> set[str]:
    """The names of the parameters whose gradient is not zero, relative to the largest gradient.

    A bias before a normalisation, which removes it, has only a gradient from rounding; it counts as not zero.
    """
    sizes = {name: _size(parameter.grad) for name, parameter in module.named_parameters()}
    largest = max(sizes.values(), default=0.0)
    return {name for name, size in sizes.items() if size > (0 if name.endswith("bias") else nothing * largest)}


def _size(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float(gradient.detach().abs().max())


def phantoms(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Random smooth images (count,*shape) in [0,1], with `shape` (C,*S)."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, shape[0], *[4] * (len(shape) - 1), generator=draw)
    return nn.functional.interpolate(coarse, shape[1:], mode={3: "bilinear", 4: "trilinear"}[len(shape)])


def sentence(names: Collection[str]) -> str:
    """The first few of many names, as text."""
    first = sorted(names)[:4]
    return ", ".join(first) + (f" and {len(names) - len(first)} more" if len(names) > len(first) else "")
