"""Interchange two perfectly nested loops.

    for i in 0..M { for j in 0..N { S } }   →   for j in 0..N { for i in 0..M { S } }

Legal where the inner extent does not depend on the outer index, and each iteration stores to memory
by both indices or by neither (naive nests have no other dependence between iterations).
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.core import Block, For, Kernel
from stepwell.ir.size import symbols
from stepwell.lowering.transforms.navigate import ScheduleError, replace_loop


def interchange(kernel: Kernel, outer: str) -> Kernel:
    """Swap the loop over `outer` with the one that is its whole body."""

    def swapped(loop: For) -> Block:
        if len(loop.body) != 1 or not isinstance(loop.body[0], For):
            raise ScheduleError(f"the loop over {outer} is not perfectly nested")
        inner = loop.body[0]
        if outer in symbols(inner.extent):
            raise ScheduleError(f"the extent of {inner.index} depends on {outer}")
        return (replace(inner, body=(replace(loop, body=inner.body),)),)

    return replace(kernel, body=replace_loop(kernel.body, outer, swapped))
