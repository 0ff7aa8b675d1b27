"""A compiled loop's way to ask for memory before it needs it: `prefetch(address)`.

Args:
    address: uint64, of a byte in the cache line that is asked for; it need not lie in an array.

numba renews its cache when the file of a loop changes, not this one: after a change here, touch the loop's file too.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _ask(_: Any, address: Any) -> Any:
    """The type and code of `prefetch`, for numba: nothing waits for the line, no address can fault, nothing returns."""

    def emit(context: Any, builder: Any, _: Any, args: Any) -> Any:
        number, pointer = ir.IntType(32), cgutils.voidptr_t
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        builder.call(ask, [builder.inttoptr(args[0], pointer), number(0), number(3), number(1)])  # to read, soon, data
        return context.get_dummy_value()

    return types.void(types.uint64), emit


prefetch: Any = intrinsic(_ask)
