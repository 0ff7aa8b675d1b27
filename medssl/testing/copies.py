"""Find copies in a method (a key encoder, a target network): frozen parts with the shapes of trained parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from medssl.pretext import Pretext


def copies(pretext: Pretext, *, frozen: bool = True) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
    """Parts of the method that have the same shapes as other parts, with these; not `frozen`: copies of the encoder."""
    method = pretext.method
    assert method is not None
    trained = [part for part in method.modules() if part is not method and _trained(part)]
    seen: set[int] = set()
    for part in method.modules():
        if id(part) in seen or part is method or not list(part.parameters()):
            continue
        twins = [pretext.encoder, *(trained if frozen else [])]
        twins = [twin for twin in twins if twin is not part and _shapes(twin) == _shapes(part)]
        if twins and (not frozen or not any(p.requires_grad for p in part.parameters())):
            seen |= {id(inner) for inner in part.modules()}
            yield part, twins


def _trained(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and all(parameter.requires_grad for parameter in parameters)


def _shapes(part: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(parameter.shape)) for name, parameter in part.named_parameters()]


def inside(pretext: Pretext, part: nn.Module) -> set[str]:
    """The names of the parameters of `part`."""
    own = {id(parameter) for parameter in part.parameters()}
    return {name for name, parameter in pretext.named_parameters() if id(parameter) in own}


def apart(part: nn.Module, twin: nn.Module) -> float:
    """The Euclidean distance between the parameters of two parts of the same shape."""
    pairs = zip(part.parameters(), twin.parameters(), strict=True)
    return float(sum((a.detach() - b.detach()).square().sum() for a, b in pairs)) ** 0.5
