"""Reassociate a sum: its loops in another order.

    for c { for p { acc[] = acc[] + x[p, c] * w[p, c] } }
      →  for p { for c { acc[] = acc[] + x[p, c] * w[p, c] } }

The terms are the same and are added up in another order, which depends on nothing but the loops.
Legal where the loops are perfectly nested around one accumulation by sum, prod, max, min, any, all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepwell.ir.loop.analysis import register_names
from stepwell.ir.loop.core import Block, For, Kernel
from stepwell.ir.size import symbols
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop
from stepwell.lowering.transforms.reorder import perfect_nest
from stepwell.lowering.transforms.vectorize_reduction import accumulators


def reassociate(kernel: Kernel, order: Sequence[str]) -> Kernel:
    """The loops of a reduction's perfect nest brought into this order, all of them."""
    outermost = next(name for name in order if set(perfect_nest(kernel, name)) == set(order))
    loops = {name: find_loop(kernel.body, name) for name in order}
    innermost = loops[perfect_nest(kernel, outermost)[-1]]
    if accumulators(innermost, register_names(kernel)) is None:
        raise ScheduleError(f"the loop over {innermost.index} is not a plain reduction")
    if any(symbols(loop.extent) & set(order) for loop in loops.values()):
        raise ScheduleError("the extent of a loop depends on another one")

    def reordered(_: For) -> Block:
        body = innermost.body
        for name in reversed(order):
            body = (replace(loops[name], body=body),)
        return body

    return replace(kernel, body=replace_loop(kernel.body, outermost, reordered))
