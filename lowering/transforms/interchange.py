"""Interchange two perfectly nested loops.

    for i in 0..M { for j in 0..N { S } }   →   for j in 0..N { for i in 0..M { S } }

Legal where the inner extent does not depend on the outer index, no iteration reads what another one
stores, and stores to one element keep their order: no subscript mixes the two indices, unless it
tells them apart, as `16*i + j` with j in 0..16 does.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import allocations, reads, stores_of, writes
from stepwell.ir.loop.core import Block, For, Kernel
from stepwell.ir.scalar import Expr, as_dim, coefficient, variables
from stepwell.ir.size import provably_le, symbols
from stepwell.lowering.transforms.navigate import ScheduleError, replace_loop


def interchange(kernel: Kernel, outer: str) -> Kernel:
    """Swap the loop over `outer` with the one that is its whole body."""

    def swapped(loop: For) -> Block:
        if len(loop.body) != 1 or not isinstance(loop.body[0], For):
            raise ScheduleError(f"the loop over {outer} is not perfectly nested")
        inner = loop.body[0]
        if outer in symbols(inner.extent):
            raise ScheduleError(f"the extent of {inner.index} depends on {outer}")
        _check_dependences(kernel, loop, inner)
        return (replace(inner, body=(replace(loop, body=inner.body),)),)

    return replace(kernel, body=replace_loop(kernel.body, outer, swapped))


def _check_dependences(kernel: Kernel, outer: For, inner: For) -> None:
    own = {buffer.name for buffer in allocations(inner.body)}
    stored = writes(inner.body) - own
    both = sorted(stored & reads(inner.body))
    if both:
        raise ScheduleError(f"{both[0]} is read and stored by different iterations")
    for store in stores_of(inner.body):
        for subscript in store.indices if store.buffer in stored else ():
            if not _keeps_order(subscript, outer, inner):
                raise ScheduleError(f"a subscript of {store.buffer} mixes the two indices")


def _keeps_order(subscript: Expr, outer: For, inner: For) -> bool:
    if not {outer.index, inner.index} <= variables(subscript):
        return True
    dim = as_dim(subscript)
    steps = [None if dim is None else coefficient(dim, loop.index) for loop in (outer, inner)]
    if steps[0] is None or steps[1] is None:
        return False
    return provably_le(steps[1] * inner.extent, steps[0]) or provably_le(
        steps[0] * outer.extent, steps[1]
    )
