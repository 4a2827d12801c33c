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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from stepwell.ir.loop.core import Call, Program, aligned, scratch_bytes
from stepwell.ir.size import substitute
from stepwell.lowering.call_order import Dependences
from stepwell.lowering.fusion_group import nominal


@dataclass(frozen=True)
class OrderCalls:
    """Run kernels in an order that takes less memory. See the module's docstring."""

    name: ClassVar[str] = "order_calls"

    def run(self, program: Program) -> Program:
        memory = _Memory(program)
        found = memory.thrifty_order()
        if memory.most(found) >= memory.most(range(len(program.calls))):
            return program
        return replace(program, calls=tuple(program.calls[number] for number in found))


@dataclass(frozen=True)
class _Memory:
    """What calls take of the workspace, in bytes at nominal sizes."""

    program: Program

    @cached_property
    def temporaries(self) -> dict[str, int]:
        items = self.program.with_role("temporary")
        return {item.buffer.name: nominal(aligned(item.buffer.bytes)) for item in items}

    @cached_property
    def touched(self) -> list[list[str]]:
        """The temporaries of each call, each once."""
        return [
            [name for name in dict.fromkeys(call.arguments) if name in self.temporaries]
            for call in self.program.calls
        ]

    @cached_property
    def scratch(self) -> list[int]:
        return [self._scratch(call) for call in self.program.calls]

    def _scratch(self, call: Call) -> int:
        kernel = self.program.kernel(call.kernel)
        sizes = dict(zip(kernel.sizes, call.sizes, strict=True))
        return nominal(substitute(scratch_bytes(kernel), sizes))

    def most(self, order: Sequence[int]) -> int:
        """The most that is live during any call."""
        left = Counter(name for names in self.touched for name in names)
        live = most = 0
        seen: set[str] = set()
        for number in order:
            for name in self.touched[number]:
                live += 0 if name in seen else self.temporaries[name]
                seen.add(name)
            most = max(most, live + self.scratch[number])
            left.subtract(self.touched[number])
            live -= sum(self.temporaries[n] for n in self.touched[number] if not left[n])
        return most

    def thrifty_order(self) -> list[int]:
        """What gives memory back runs at once; else the first in the source that can."""
        before = [set(numbers) for numbers in Dependences(self.program).before]
        after: list[list[int]] = [[] for _ in before]
        for number, numbers in enumerate(before):
            for first in numbers:
                after[first].append(number)
        left = Counter(name for names in self.touched for name in names)
        seen: set[str] = set()
        ready = {number for number, numbers in enumerate(before) if not numbers}
        order: list[int] = []
        while ready:
            taken = {number: self._taken(number, seen, left) for number in ready}
            thrifty = [number for number in ready if taken[number] < 0]
            number = min(thrifty, key=lambda n: (taken[n], n)) if thrifty else min(ready)
            seen.update(self.touched[number])
            left.subtract(self.touched[number])
            order.append(number)
            ready.discard(number)
            for then in after[number]:
                before[then].discard(number)
                if not before[then]:
                    ready.add(then)
        return order

    def _taken(self, number: int, seen: set[str], left: Counter[str]) -> int:
        """Bytes that are live after the call and were not before."""
        taken = 0
        for name in self.touched[number]:
            taken += 0 if name in seen else self.temporaries[name]
            taken -= self.temporaries[name] if left[name] == 1 else 0
        return taken
