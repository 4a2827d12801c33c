"""Reorder a perfect nest.

    for i { for j { for k { S } } }   reorder (k, i, j) →   for k { for i { for j { S } } }

A sequence of interchanges, legal where each is.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.ir.loop.core import For, Kernel
from stepwell.lowering.transforms.interchange import interchange
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop


def perfect_nest(kernel: Kernel, outermost: str) -> list[str]:
    """The indices of the perfect nest that begins with this loop, outer first."""
    loop = find_loop(kernel.body, outermost)
    names = [outermost]
    while len(loop.body) == 1 and isinstance(loop.body[0], For):
        loop = loop.body[0]
        names.append(loop.index)
    return names


def reorder(kernel: Kernel, outermost: str, order: Sequence[str]) -> Kernel:
    """Bring the loops of a perfect nest into this order, by interchanging neighbours."""
    nest = perfect_nest(kernel, outermost)[: len(order)]
    if set(nest) != set(order):
        raise ScheduleError(f"{', '.join(order)} are not the loops of one perfect nest")
    for place, name in enumerate(order):
        at = nest.index(name)
        while at > place:
            kernel = interchange(kernel, nest[at - 1])
            nest[at - 1], nest[at] = nest[at], nest[at - 1]
            at -= 1
    return kernel
