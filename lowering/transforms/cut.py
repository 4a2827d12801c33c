"""Cut a loop in two at an iteration: the parts run one after the other.

    for i in 0..7 { S(i) }   cut at 6   →   for i in 0..6 { S(i) }
                                            for i_1 in 0..1 { S(6 + i_1) }

So a tail gets code of its own, of exactly its size. Legal always: the iterations keep their order.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import fresh_copy, fresh_name, substitute_block, taken_names
from stepwell.ir.loop.core import Block, For, Kernel
from stepwell.ir.scalar import from_dim
from stepwell.ir.size import Dim, provably_le, symbol
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop


def cut(kernel: Kernel, index: str, at: Dim) -> tuple[Kernel, str]:
    """Cut the loop over `index` before iteration `at`; the index of the second part."""
    extent = find_loop(kernel.body, index).extent
    if not provably_le(at, extent) or not provably_le(0, at):
        raise ScheduleError(f"the loop over {index} may have fewer than {at} iterations")
    taken = taken_names(kernel)
    second = fresh_name(taken, index)

    def parts(loop: For) -> Block:
        body = substitute_block(
            fresh_copy(loop.body, taken), {index: from_dim(at + symbol(second))}
        )
        rest = replace(loop, index=second, extent=loop.extent - at, body=body)
        return (replace(loop, extent=at), rest)

    return replace(kernel, body=replace_loop(kernel.body, index, parts)), second
