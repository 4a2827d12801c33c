"""The pass `order_calls`: kernels run in an order in which less memory is live at once.

    call dx3(g3, g2)                                  call dx3(g3, g2)
    call dx2(g2, g1)                                  call update3(g3, w3)    g3 is dead
    call update3(g3, w3)                         →    call dx2(g2, g1)
    call update2(g2, w2)                              call update2(g2, w2)    g2 is dead

A call that gives back more memory than it takes runs as soon as it can; else it is the source's
order. Where that takes no less memory than the source's order, the calls stay as they are.
So a gradient is used up by the update of its weight while it is still in the caches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from stepwell.ir.loop.core import Program
from stepwell.lowering.call_memory import CallMemory
from stepwell.lowering.call_order import Dependences


@dataclass(frozen=True)
class OrderCalls:
    """Run kernels in an order that takes less memory. See the module's docstring."""

    name: ClassVar[str] = "order_calls"

    def run(self, program: Program) -> Program:
        memory = CallMemory(program)
        found = _thrifty_order(program, memory)
        if memory.most(_apart(found)) >= memory.most(_apart(range(len(program.calls)))):
            return program
        return replace(program, calls=tuple(program.calls[number] for number in found))


def _apart(order: Iterable[int]) -> list[tuple[int]]:
    return [(number,) for number in order]


def _thrifty_order(program: Program, memory: CallMemory) -> list[int]:
    """What gives memory back runs at once; else the first in the source that can."""
    dependences = Dependences(program)
    before, after = [set(numbers) for numbers in dependences.before], dependences.after
    left = Counter(name for names in memory.touched for name in names)
    seen: set[str] = set()
    ready = {number for number, numbers in enumerate(before) if not numbers}
    order: list[int] = []
    while ready:
        taken = {number: _taken(memory, number, seen, left) for number in ready}
        thrifty = [number for number in ready if taken[number] < 0]
        number = min(thrifty, key=lambda n: (taken[n], n)) if thrifty else min(ready)
        seen.update(memory.touched[number])
        left.subtract(memory.touched[number])
        order.append(number)
        ready.discard(number)
        for then in after[number]:
            before[then].discard(number)
            if not before[then]:
                ready.add(then)
    return order


def _taken(memory: CallMemory, number: int, seen: set[str], left: Counter[str]) -> int:
    """Bytes that are live after the call and were not before."""
    taken = 0
    for name in memory.touched[number]:
        taken += 0 if name in seen else memory.temporaries[name]
        taken -= memory.temporaries[name] if left[name] == 1 else 0
    return taken
