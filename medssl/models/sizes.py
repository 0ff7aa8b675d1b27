"""Image sizes that an encoder accepts, and strides that may differ between axes."""

from __future__ import annotations

from collections.abc import Sequence

from medssl.types import InputError

Stride = int | tuple[int, ...]


def per_axis(stride: int | Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    """A stride as one number per axis."""
    return (stride,) * spatial_dims if isinstance(stride, int) else tuple(stride)


def check(size: Sequence[int], divisor: int | Sequence[int], what: str = "view size") -> None:
    """Raise InputError if a size (*S, voxels) is not divisible by `divisor`; the message gives the nearest that are.

    >>> check((96, 96, 64), 32)
    """
    divisors = per_axis(divisor, len(size))
    if len(divisors) != len(size):
        raise InputError(
            f"{what} {list(size)} has {len(size)} axes, but the encoder has {len(divisors)}: give one number per axis"
        )
    if all(n > 0 and n % d == 0 for n, d in zip(size, divisors, strict=True)):
        return
    below = [max(n // d, 1) * d for n, d in zip(size, divisors, strict=True)]
    above = [max(-(-n // d), 1) * d for n, d in zip(size, divisors, strict=True)]
    nearest = str(below) if below == above else f"{below} or {above}"
    raise InputError(f"{what} {list(size)} is not divisible by the encoder's divisor {list(divisors)}: use {nearest}")
