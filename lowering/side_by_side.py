"""The pass `side_by_side`: independent calls too short to be shared among threads run together.

    call tower[N](user, a)                         together {
    call tower[N](item, b)                           call tower[N](user, a)
    call dot[N](a, b, y)                       →     call tower[N](item, b)
                                                   }
                                                   call dot[N](a, b, y)

Each step takes the first call that is left, and those beside it that can run by then and with which
the threads are done sooner (`step_cost.py`). Calls that take next to nothing are run before, where
that lets another be beside. What all this takes of the workspace, and of the caches between those
that make a value and those that read it, has bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from stepwell.ir.loop.core import Program, is_parallel
from stepwell.lowering.call_memory import CallMemory
from stepwell.lowering.call_order import Dependences
from stepwell.lowering.parallelize import TEAMS, WORTH
from stepwell.lowering.step_cost import StepCost

MOST = 16  # calls together
AHEAD = 32  # calls looked at to find those that go beside another
SPARE = 1 << 18  # bytes of workspace that are no concern


@dataclass(frozen=True)
class SideBySide:
    """Run calls together where that wins. See the module's docstring.

    `grain` is how many cycles each of two threads has to do at least, `fork` how many a job costs,
    `moved` how many a byte from another core (50 ns for a line), `cores` how many threads there may
    be, `cache` the bytes of temporaries that calls together may touch: those of a core's own cache.
    """

    grain: int = 10_000
    fork: int = 4_000
    moved: int = 3
    cores: int = TEAMS[-1]
    cache: int = 1 << 19
    name: ClassVar[str] = "side_by_side"
    kind: ClassVar[str] = "loop"

    def run(self, program: Program) -> Program:
        if any(call.beside for call in program.calls):
            return program
        steps = _Schedule(program, self).run()
        if all(len(step) == 1 for step in steps):
            return program
        calls = tuple(
            replace(program.calls[number], beside=place > 0)
            for step in steps
            for place, number in enumerate(step)
        )
        return replace(program, calls=calls)


class _Schedule:
    """The calls of a program, by their numbers, in steps."""

    def __init__(self, program: Program, options: SideBySide) -> None:
        self.options = options
        self.memory = CallMemory(program)
        dependences = Dependences(program)
        self.before, self.after = dependences.before, dependences.after
        self.missing = [len(numbers) for numbers in self.before]
        self.left = dict.fromkeys(range(len(program.calls)))
        self.ready = {number for number in self.left if not self.missing[number]}
        self.steps: list[list[int]] = []
        kernels = {kernel.name for kernel in program.kernels if is_parallel(kernel)}
        calls = enumerate(program.calls)
        self.shared = {number for number, call in calls if call.kernel in kernels}
        teams = tuple(team for team in TEAMS if team <= options.cores) or TEAMS[:1]
        self.cost = StepCost(program, options.fork, options.moved, teams)

    @cached_property
    def limit(self) -> int:
        """Bytes of workspace: what the calls need in order, or what is no concern."""
        return max(SPARE, self.memory.most([(number,) for number in range(len(self.before))]))

    def run(self) -> list[list[int]]:
        while self.left:
            first, step = self._step(next(iter(self.left)))
            for number in first:
                self._take([number])
            self._take(step)
        return self.steps

    def _take(self, step: list[int]) -> None:
        self.steps.append(step)
        for number in step:
            del self.left[number]
            self.ready.discard(number)
            for then in self.after[number]:
                self.missing[then] -= 1
                if not self.missing[then]:
                    self.ready.add(then)

    def _step(self, base: int) -> tuple[list[int], list[int]]:
        """What has to run before; the call and what goes well beside it."""
        alone: tuple[list[int], list[int]] = [], [base]
        first, step = alone
        for number, needs in self._partners(base):
            if number in first or not {*needs}.isdisjoint(step) or len(step) == MOST:
                continue
            before, wider = sorted({*first, *needs}), [*step, number]
            if self._gains(step, number) and self._fits(before, wider):
                first, step = before, wider
        if len(step) == 1 or self.cost.work(step) < 2 * self.options.grain:
            return alone
        return first, sorted(step, key=lambda number: (-self.cost.work([number]), number))

    def _partners(self, base: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Calls that can run at the same time, each with the short ones that must run before it."""
        if base in self.shared or len(self.ready) == 1 or self._is_short(base):
            return
        needs: dict[int, tuple[int, ...]] = dict.fromkeys(sorted(self.ready - {base}), ())
        waiting, short = list(needs)[:AHEAD], set[int]()
        for number in waiting:
            if number not in self.shared:
                yield number, needs[number]
            if not self._is_short(number) or len(waiting) >= AHEAD:
                continue
            short.add(number)
            for then in self.after[number]:
                missing = [n for n in self.before[then] if n in self.left]
                if then not in needs and short.issuperset(missing):
                    needs[then] = tuple({n for m in missing for n in (*needs[m], m)})
                    waiting.append(then)

    def _is_short(self, number: int) -> bool:
        return number not in self.shared and self.cost.work([number]) < self.options.fork

    def _gains(self, step: Sequence[int], number: int) -> bool:
        """Whether the call takes less beside the others than after them."""
        together = self.cost.time([*step, number]) - self.cost.time(step)
        return together < WORTH * self.cost.time([number])

    def _fits(self, first: Sequence[int], step: Sequence[int]) -> bool:
        """Whether their data fit the caches, and all that is live then the workspace."""
        names = {name for number in step for name in self.memory.touched[number]}
        if sum(self.memory.temporaries[name] for name in names) > self.options.cache:
            return False
        rest = (number for number in self.left if number not in first and number not in step)
        order = [*self.steps, *((n,) for n in first), step, *((n,) for n in rest)]
        return self.memory.most(order) <= self.limit
