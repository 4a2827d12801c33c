"""Gradients of strided windows: a convolution, or a pooling, for each phase of the stride.

In: a naive nest around a sum of products that count where a stride divides an index. Out: one nest
for each remainder of the result's pixels, each without a test, and scheduled by itself:

    for n { for i in 0..56 { for j in 0..56 { for c { Σ over o, p, q where (i + 1 - p) % 2 == 0 …
      →  4 nests of 28 × 28 pixels, of 1, 2, 2 and 4 taps, as the direct convolutions that they are
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stepwell.ir.loop.analysis import substitute_block
from stepwell.ir.loop.core import Alloc, For, Kernel
from stepwell.ir.scalar import Var
from stepwell.ir.target import Target
from stepwell.lowering.strategies.pieces import joined
from stepwell.lowering.strategies.products import reduction_nest, without_outer_lets
from stepwell.lowering.transforms.phases import phases

MOST = 16  # phases, past which their code is too long


def schedule_strided(
    kernel: Kernel, target: Target, schedule: Callable[[Kernel, Target], Kernel]
) -> Kernel | None:
    """The phases, each by `schedule`; None where there is only one."""
    if kernel.family not in ("contraction", "window"):
        return None
    if any(0 in parameter.buffer.shape for parameter in kernel.parameters):
        return None
    kernel = without_outer_lets(kernel)
    nests = reduction_nest(kernel)
    parts = [] if nests is None else phases(kernel, *nests)
    if not 1 < len(parts) <= MOST:
        return None
    whole = joined(kernel, [schedule(part, target) for part in parts])
    return _side_by_side(whole, len(parts))


def _side_by_side(kernel: Kernel, parts: int) -> Kernel:
    """One nest of each part as one over images, where all are: what the parts read of an image is
    read from memory once. They store to different elements, and read none of these."""
    local = tuple(s for s in kernel.body if isinstance(s, Alloc))
    loops = [s for s in kernel.body if isinstance(s, For)]
    if len(local) + len(loops) != len(kernel.body) or len(loops) != parts:
        return kernel
    first = loops[0]
    if any(loop.extent != first.extent for loop in loops):
        return kernel
    bodies = [substitute_block(loop.body, {loop.index: Var(first.index)}) for loop in loops]
    nest = replace(first, body=tuple(s for body in bodies for s in body))
    return replace(kernel, body=(*local, nest))
