"""Gradients of strided convolutions: a convolution for each phase of the stride.

In: a naive nest around a sum of products that count where a stride divides an index. Out: one nest
for each remainder of the result's pixels, each without a test, and scheduled by itself:

    for n { for i in 0..56 { for j in 0..56 { for c { Σ over o, p, q where (i + 1 - p) % 2 == 0 …
      →  4 nests of 28 × 28 pixels, of 1, 2, 2 and 4 taps, as the direct convolutions that they are
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from stepwell.ir.loop.analysis import fresh_copy, kernel_buffers, taken_names
from stepwell.ir.loop.core import Alloc, Kernel
from stepwell.ir.target import Target
from stepwell.lowering.strategies.products import reduction_nest, without_outer_lets
from stepwell.lowering.transforms.coarsen import coarsen, common_shape
from stepwell.lowering.transforms.phases import phases

MOST = 16  # phases, past which their code is too long


def schedule_strided(
    kernel: Kernel, target: Target, schedule: Callable[[Kernel, Target], Kernel]
) -> Kernel | None:
    """The phases, each by `schedule`; None where there is only one."""
    if kernel.family != "contraction" or any(0 in p.buffer.shape for p in kernel.parameters):
        return None
    kernel = without_outer_lets(kernel)
    nests = reduction_nest(kernel)
    parts = [] if nests is None else phases(kernel, *nests)
    if not 1 < len(parts) <= MOST:
        return None
    return _joined(kernel, [schedule(part, target) for part in parts])


def _joined(kernel: Kernel, parts: Sequence[Kernel]) -> Kernel:
    """One after the other in one kernel, where all see the arrays in the same shapes."""
    for name in [parameter.buffer.name for parameter in kernel.parameters]:
        shape = common_shape([kernel_buffers(part)[name].shape for part in parts])
        parts = [coarsen(part, name, shape) for part in parts]
    taken = taken_names(kernel)
    bodies = [fresh_copy(part.body, taken) for part in parts]
    local = tuple(s for body in bodies for s in body if isinstance(s, Alloc))
    rest = tuple(s for body in bodies for s in body if not isinstance(s, Alloc))
    return replace(kernel, parameters=parts[0].parameters, body=(*local, *rest))
