"""How long calls take that run together, roughly: to decide whether they should.

In: a program, its calls by their numbers. Out: clock cycles, summed over some numbers of threads.

    two calls of 20000 cycles, 2 threads    →    20000 and a fork; one after the other 40000

Calls have no parallel loops. Each goes to the thread that is done first, and what it reads and
writes moves there from another's cache. A job costs a fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from stepwell.ir.loop.analysis import kernel_buffers
from stepwell.ir.loop.core import THREADS, Call, Program
from stepwell.ir.size import substitute
from stepwell.lowering.loop_cost import cycles, estimate


@dataclass(frozen=True)
class StepCost:
    """Of a program's calls; cycles for a job, and for a byte that moves; numbers of threads."""

    program: Program
    fork: int
    moved: int
    teams: Sequence[int]

    def work(self, step: Sequence[int]) -> int:
        """Cycles of the calls with one thread."""
        return sum(self._cycles[number] for number in step)

    def time(self, step: Sequence[int]) -> float:
        """Cycles of the calls together, for all numbers of threads."""
        if len(step) == 1:
            return self._cycles[step[0]] * len(self.teams)
        costs = sorted((self._cycles[n] + self._moving[n] for n in step), reverse=True)
        return sum(_longest(costs, team) + self.fork for team in self.teams)

    @cached_property
    def _cycles(self) -> list[int]:
        kernels = {kernel.name: kernel for kernel in self.program.kernels}
        totals = {name: cycles(k.body, kernel_buffers(k)) for name, k in kernels.items()}
        found = []
        for call in self.program.calls:
            sizes = dict(zip(kernels[call.kernel].sizes, call.sizes, strict=True))
            total = substitute(totals[call.kernel], sizes)
            found.append(estimate(substitute(total, {THREADS: 1})))
        return found

    @cached_property
    def _moving(self) -> list[int]:
        return [self.moved * self._bytes(call) for call in self.program.calls]

    def _bytes(self, call: Call) -> int:
        """What a call reads and writes that other calls do, too."""
        items = (self.program.buffer(name) for name in dict.fromkeys(call.arguments))
        return sum(estimate(item.buffer.bytes) for item in items if item.role == "temporary")


def _longest(costs: Sequence[int], team: int) -> int:
    """The cycles of the thread that has most to do, each cost going to the one with least."""
    loads = [0] * team
    for cost in costs:
        loads[loads.index(min(loads))] += cost
    return max(loads)
