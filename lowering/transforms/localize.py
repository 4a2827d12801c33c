"""Localize a register: a loop works on a copy, brought in before it and put back after it.

    for k in 0..8 { acc[] = acc[] + x[k] }
      →
    alloc part: f32 register
    part[] = acc[]
    for k in 0..8 { part[] = part[] + x[k] }
    acc[] = part[]

Legal always. Where `acc` then becomes memory (`distribute`), the loop still works in registers.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import fresh_name, kernel_buffers, rename_buffers, taken_names
from stepwell.ir.loop.core import Alloc, Block, For, Kernel, Store
from stepwell.ir.scalar import Load
from stepwell.lowering.transforms.navigate import ScheduleError, replace_loop


def localize(kernel: Kernel, index: str, buffer: str) -> tuple[Kernel, str]:
    """Localize the register `buffer`, of no dimensions, in the loop; also gives its new name."""
    outside = kernel_buffers(kernel).get(buffer)
    if outside is None or outside.shape or outside.space != "register":
        raise ScheduleError(f"{buffer} is not a register of no dimensions")
    name = fresh_name(taken_names(kernel), f"{buffer}_part")
    inside = replace(outside, name=name)

    def localized(loop: For) -> Block:
        return (
            Alloc(inside, loop.span),
            Store(name, (), Load(buffer, (), outside.dtype), loop.span),
            *rename_buffers((loop,), {buffer: name}),
            Store(buffer, (), Load(name, (), outside.dtype), loop.span),
        )

    return replace(kernel, body=replace_loop(kernel.body, index, localized)), name
