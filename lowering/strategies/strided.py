"""Gradients of strided convolutions: a convolution for each phase of the stride.

In: a naive nest around a sum of products that count where a stride divides an index. Out: one nest
for each remainder of the result's pixels, each without a test, and scheduled by itself:

    for n { for i in 0..56 { for j in 0..56 { for c { Σ over o, p, q where (i + 1 - p) % 2 == 0 …
      →  4 nests of 28 × 28 pixels, of 1, 2, 2 and 4 taps, as the direct convolutions that they are
"""

from __future__ import annotations

from collections.abc import Callable

from stepwell.ir.loop.core import Kernel
from stepwell.ir.target import Target
from stepwell.lowering.strategies.pieces import joined
from stepwell.lowering.strategies.products import reduction_nest, without_outer_lets
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
    return joined(kernel, [schedule(part, target) for part in parts])
