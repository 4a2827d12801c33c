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
from stepwell.ir.loop.core import THREADS, Call, Kernel, Program
from stepwell.ir.size import Dim, substitute
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
        return sum(map(self._cycles, step))

    def time(self, step: Sequence[int]) -> float:
        """Cycles of the calls together, for all numbers of threads."""
        if len(step) == 1:
            return self._cycles(step[0]) * len(self.teams)
        costs = sorted((self._cycles(n) + self._moving[n] for n in step), reverse=True)
        return sum(_longest(costs, team) + self.fork for team in self.teams)

    def _cycles(self, number: int) -> int:
        call = self.program.calls[number]
        sizes = dict(zip(self._kernels[call.kernel].sizes, call.sizes, strict=True))
        return estimate(substitute(substitute(self._total(call.kernel), sizes), {THREADS: 1}))

    def _total(self, kernel: str) -> Dim:
        """Of a kernel, once it is asked for: most calls have none to be beside."""
        if kernel not in self._totals:
            found = self._kernels[kernel]
            self._totals[kernel] = cycles(found.body, kernel_buffers(found))
        return self._totals[kernel]

    @cached_property
    def _kernels(self) -> dict[str, Kernel]:
        return {kernel.name: kernel for kernel in self.program.kernels}

    @cached_property
    def _totals(self) -> dict[str, Dim]:
        return {}

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
