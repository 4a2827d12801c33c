"""The pass `parallelize`: outer loops shared among the threads of a pool.

    call scale[N](x, y)                          call scale[N, min(pool.threads, N // 40)](x, y)
    kernel scale[N](…) {                         kernel scale[N, tasks](…) {
      for i in 0..N { S(i) }               →       for task in 0..tasks parallel {
    }                                                let first: i64 = task*N // tasks
                                                     for i in 0..… { S(first + i) }
                                                 } }

For each nest of a scheduled kernel several ways are weighed: to deal out the outermost loop's
iterations, to deal out the parts of its blocks, or to run it in order and share what is inside:
that is taken, too, where a run may have but one iteration of much work, such as an image.
Scratch that each iteration needs for itself gets one more dimension, one entry per task. A kernel
has as many tasks as there are threads, unless a task would be shorter than the grain; one task
costs nothing but a call. The order of every sum stays: results do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from stepwell.ir.dtypes import I64
from stepwell.ir.loop.analysis import (
    allocations,
    fresh_name,
    index_names,
    kernel_buffers,
    map_expressions,
    map_statements,
    taken_names,
)
from stepwell.ir.loop.core import (
    THREADS,
    Alloc,
    Block,
    Buffer,
    Call,
    For,
    Kernel,
    Prefetch,
    Program,
    Statement,
    Store,
)
from stepwell.ir.scalar import Expr, Load, Var
from stepwell.ir.size import Dim, floordiv, maximum, minimum, substitute, symbol
from stepwell.lowering.dependence import independent
from stepwell.lowering.loop_cost import cycles, estimate
from stepwell.lowering.partition import Tasks, deal
from stepwell.lowering.partition_blocks import deal_blocks, find_blocks
from stepwell.lowering.transforms.navigate import rewrite

TEAMS = (2, 3, 4, 8)  # numbers of threads for which ways are compared, up to the cores
WORTH = 0.9  # of the time in order: what sharing must not exceed
STEADY = 1.02  # of the best time: what it may cost to share each iteration of a symbolic loop


@dataclass(frozen=True)
class Parallelize:
    """`for i in 0..N { S }` → `for task in 0..tasks parallel { … }`, where it pays.

    `grain` is how many cycles a task takes at least, `fork` how many a job costs beside, and
    `cores` how many threads there may be: of several ways the best for so many is taken.
    """

    grain: int = 10_000
    fork: int = 4_000
    cores: int = TEAMS[-1]
    name: ClassVar[str] = "parallelize"
    kind: ClassVar[str] = "loop"

    def run(self, program: Program) -> Program:
        once = {call.kernel for call in program.preparations}
        teams = tuple(team for team in TEAMS if team <= self.cores) or TEAMS[:1]
        shared = {
            kernel.name: _Sharing(kernel, self.grain, self.fork, teams).run()
            for kernel in program.kernels
            if kernel.name not in once
        }
        counts = {name: (kernel, count) for name, (kernel, count) in shared.items() if count != 1}
        if not counts:
            return program
        kernels = tuple(counts.get(k.name, (k, 1))[0] for k in program.kernels)
        calls = tuple(_with_tasks(call, *counts[call.kernel]) if call.kernel in counts else call
                      for call in program.calls)  # fmt: skip
        return replace(program, kernels=kernels, calls=calls)


def _with_tasks(call: Call, kernel: Kernel, count: Dim) -> Call:
    sizes = dict(zip(kernel.sizes, call.sizes, strict=False))
    return replace(call, sizes=(*call.sizes, substitute(count, sizes)))


@dataclass(frozen=True)
class _Way:
    """One way to do a statement: cycles for each of the teams, and what makes it."""

    cycles: tuple[float, ...]
    make: Callable[[], Block]

    @property
    def score(self) -> float:
        return sum(self.cycles)


class _Sharing:
    """One kernel's nests shared among tasks."""

    def __init__(self, kernel: Kernel, grain: int, fork: int, teams: Sequence[int]) -> None:
        self.kernel, self.grain, self.fork, self.teams = kernel, grain, fork, teams
        self.buffers = kernel_buffers(kernel)
        self.beginning = dict.fromkeys(index_names(kernel.body), 0)
        self.taken = taken_names(kernel)
        self.tasks = fresh_name(self.taken, "tasks")
        self.count: Dim = 1  # tasks for which the longest nest has work
        self.longest = 0  # its cycles
        self.private: dict[str, Buffer] = {}

    def run(self) -> tuple[Kernel, Dim]:
        """The kernel, and how many tasks a call has, over its sizes; 1 where it stays as it is."""
        if estimate(self._start(cycles(self.kernel.body, self.buffers))) < 2 * self.grain:
            return self.kernel, 1
        body = self._block(self.kernel.body)[1]()
        if self.count == 1:
            return self.kernel, 1
        body = _without(body, self.private)
        sizes = (*self.kernel.sizes, self.tasks)
        allocs = tuple(Alloc(buffer) for buffer in self.private.values())
        kernel = replace(self.kernel, sizes=sizes, body=(*allocs, *body))
        return kernel, minimum(symbol(THREADS), maximum(1, self.count))

    # ------------------------------------------------------------------ weighing

    def _block(self, block: Block) -> tuple[tuple[float, ...], Callable[[], Block]]:
        ways = [self._best(statement) for statement in block]
        total = tuple(sum(way.cycles[i] for way in ways) for i in range(len(self.teams)))
        return total, lambda: tuple(s for way in ways for s in way.make())

    def _best(self, statement: Statement) -> _Way:
        alone = estimate(self._start(cycles((statement,), self.buffers)))
        in_order = _Way((float(alone),) * len(self.teams), lambda: (statement,))
        if not isinstance(statement, For) or statement.kind != "serial" or alone < 2 * self.grain:
            return in_order
        inside = self._inside(statement)
        found = [*self._dealt(statement, alone), *inside]
        best = min(found, key=lambda way: way.score, default=in_order)
        if self._may_be_one(statement):
            best = next((way for way in inside if way.score <= STEADY * best.score), best)
        return best if best.score < WORTH * in_order.score else in_order

    def _may_be_one(self, loop: For) -> bool:
        """Whether a run may have one iteration, such as an image, and how long it is is known."""
        if isinstance(loop.extent, int):
            return False
        return isinstance(self._start(cycles(loop.body, self.buffers)), int)

    def _dealt(self, loop: For, alone: int) -> Sequence[_Way]:
        """The loop's iterations, or the parts of its blocks."""
        blocks = find_blocks(self.kernel, loop)
        if blocks is not None:
            own = {b.name for b in allocations(loop.body) if b.space == "scratch"}
            make = partial(deal_blocks, blocks)
            return [self._way(loop, blocks.total, frozenset(own), alone, make)]
        private = independent(self.kernel, loop)
        if private is None:
            return []
        return [self._way(loop, loop.extent, private, alone, partial(deal, loop))]

    def _way(
        self, loop: For, trips: Dim, private: frozenset[str], alone: int,
        make: Callable[[Tasks], For],
    ) -> _Way:  # fmt: skip
        count = max(1, estimate(self._start(trips)))
        enough = max(1, alone // self.grain)
        times = []
        for team in self.teams:
            parts = min(team, enough, count)
            times.append(-(-count // parts) * alone / count + self.fork)
        return _Way(tuple(times), lambda: (self._shared(loop, trips, private, make),))

    def _inside(self, loop: For) -> Sequence[_Way]:
        """The loop in order, and what is in it shared each time."""
        if not any(isinstance(s, For) for s in loop.body):
            return []
        times = max(1, estimate(self._start(loop.extent)))
        total, make = self._block(loop.body)
        return [_Way(tuple(t * times for t in total), lambda: (replace(loop, body=make()),))]

    # ------------------------------------------------------------------ making

    def _shared(
        self, loop: For, trips: Dim, private: frozenset[str], make: Callable[[Tasks], For]
    ) -> For:
        work = self._start(cycles((loop,), self.buffers))
        enough = minimum(floordiv(work, self.grain), self._start(trips))
        if estimate(work) > self.longest:
            self.longest, self.count = estimate(work), enough
        index, first = fresh_name(self.taken, "task"), fresh_name(self.taken, "first")
        count: Dim = symbol(self.tasks)
        if isinstance(enough, int) and enough < max(TEAMS):
            count = minimum(enough, count)
        dealt = make(Tasks(index, count, first))
        for name in sorted(private):
            buffer = self.buffers[name]
            shape = (symbol(self.tasks), *buffer.shape)
            self.private[name] = replace(buffer, shape=shape)
        body = _with_own(dealt.body, private, index)
        return replace(dealt, body=body)

    def _start(self, dim: Dim) -> Dim:
        """A dim where all loops are at their beginning: blocks at the end may be smaller."""
        return substitute(dim, self.beginning)


def _with_own(block: Block, private: frozenset[str], task: str) -> Block:
    """The block with the task's own part of private buffers."""
    mine = Var(task, I64)

    def in_expr(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer in private:
            return replace(expr, indices=(mine, *expr.indices))
        return expr

    def in_store(statement: Statement) -> Statement:
        if isinstance(statement, (Store, Prefetch)) and statement.buffer in private:
            return replace(statement, indices=(mine, *statement.indices))
        return statement

    block = map_expressions(block, lambda expr: rewrite(expr, in_expr))
    return map_statements(block, in_store)


def _without(block: Block, names: Container[str]) -> Block:
    """The block without the allocations of these buffers."""
    return map_statements(
        block, lambda s: () if isinstance(s, Alloc) and s.buffer.name in names else s
    )
