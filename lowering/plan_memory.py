"""The memory plan: where each temporary and each call's scratch lies in the one workspace.

In: a program. Out: the same with offsets, and the bytes of workspace that a run needs. Preparations
have a workspace of their own, for scratch and for what only other preparations read.

    a: temporary, 256 N bytes, live in calls 0..1          a at 0
    b: temporary, 128 N bytes, live in calls 1..2    →     b at 256 N
    c: temporary, 256 N bytes, live in calls 2..3          c at 0        workspace 384 N

Calls that are together are live at once. How blocks are packed is in `arena.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from typing import ClassVar

from stepwell.ir.loop.core import (
    Call,
    Kernel,
    Program,
    ProgramBuffer,
    aligned,
    scratch_bytes,
)
from stepwell.ir.size import Dim, evaluate, substitute
from stepwell.lowering.arena import Block, in_a_row, largest, live_bytes, packed
from stepwell.lowering.in_place import can_reuse


@dataclass(frozen=True)
class PlanMemory:
    """Give every temporary and every call's scratch an offset in the workspace.

    Before: `temporary a: f32[N, 64]`. After: `temporary a: f32[N, 64] at 0`, `workspace 384*N`.
    With `reuse=false` every block has bytes of its own.
    """

    name: ClassVar[str] = "plan_memory"
    reuse: bool = True

    def run(self, program: Program) -> Program:
        run = self._plan(_Run.of(program))
        before = self._plan(_Run.before(program))
        offsets = run.offsets | before.offsets
        buffers = tuple(
            replace(item, offset=offsets[item.buffer.name]) if item.buffer.name in offsets else item
            for item in program.buffers
        )
        program = replace(program, buffers=buffers, calls=run.calls, workspace=run.workspace)
        if not program.preparations:
            return program
        return replace(program, preparations=before.calls, preparation_workspace=before.workspace)

    def _plan(self, run: _Run) -> _Plan:
        blocks, homes, scratch = _blocks(run, self.reuse)
        offsets, workspace = packed(blocks) if self.reuse else in_a_row(blocks)
        calls = tuple(
            replace(call, scratch=offsets[scratch[i]] if i in scratch else 0)
            for i, call in enumerate(run.calls)
        )
        return _Plan({name: offsets[home] for name, home in homes.items()}, calls, workspace)


@dataclass(frozen=True)
class _Run:
    """Calls in order, and the buffers for which they need room."""

    program: Program
    calls: tuple[Call, ...]
    buffers: tuple[ProgramBuffer, ...]

    @staticmethod
    def of(program: Program) -> _Run:
        return _Run(program, program.calls, program.with_role("temporary"))

    @staticmethod
    def before(program: Program) -> _Run:
        """The preparations, and the prepared buffers that no call reads."""
        held = program.held
        inner = tuple(item for item in program.with_role("prepared") if item not in held)
        return _Run(program, program.preparations, inner)


@dataclass(frozen=True)
class _Plan:
    """Where each buffer lies, the calls with their scratch, and the bytes of all."""

    offsets: dict[str, Dim]
    calls: tuple[Call, ...]
    workspace: Dim


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of workspace: planned; with no reuse at all; and the most that is live at once in any
    one call, below which no plan can go."""

    planned: Dim
    naive: Dim
    peak: Dim

    def at(self, sizes: Mapping[str, int]) -> tuple[int, int, int]:
        """The three numbers for given sizes."""
        planned, naive, peak = (
            evaluate(dim, sizes) for dim in (self.planned, self.naive, self.peak)
        )
        return planned, naive, peak


def memory_report(program: Program) -> MemoryReport:
    """How well a planned program uses its workspace."""
    blocks, _, _ = _blocks(_Run.of(program), reuse=True)
    sizes = [block.bytes for block in blocks]
    peak = largest([live_bytes(blocks, sizes, i) for i in range(len(program.steps))])
    return MemoryReport(program.workspace or 0, naive_bytes(program), peak)


def naive_bytes(program: Program) -> Dim:
    """Bytes of workspace with no reuse at all."""
    blocks, _, _ = _blocks(_Run.of(program), reuse=False)
    return sum((block.bytes for block in blocks), start=0)


def _blocks(run: _Run, reuse: bool) -> tuple[list[Block], dict[str, int], dict[int, int]]:
    """The blocks; which one each buffer lies in; which one is each call's scratch."""
    program = run.program
    kernels = {kernel.name: kernel for kernel in program.kernels}
    bytes = {item.buffer.name: aligned(item.buffer.bytes) for item in run.buffers}
    blocks: list[Block] = []
    homes: dict[str, int] = {}
    scratch: dict[int, int] = {}

    @cache
    def fits(kernel: str, source: str, target: str) -> bool:
        return can_reuse(kernels[kernel], source, target)

    steps, last_use, users = _uses(run.calls)
    for number, (step, call) in enumerate(zip(steps, run.calls, strict=True)):
        kernel = kernels[call.kernel]
        ours = {n for n in call.arguments if last_use[n] == step and users[n] == 1}
        for name in dict.fromkeys(call.arguments):
            if name in bytes and name not in homes:
                dying = [n for n in call.arguments if reuse and n in ours and n in homes]
                home = _reused(program, kernel, call, name, dying, fits)
                if home is not None and blocks[homes[home]].last == step:
                    homes[name] = homes[home]
                else:
                    homes[name] = len(blocks)
                    blocks.append(Block(bytes[name], step, step))
                blocks[homes[name]].last = last_use[name]
        needed = substitute(scratch_bytes(kernel), dict(zip(kernel.sizes, call.sizes, strict=True)))
        if needed != 0:
            scratch[number] = len(blocks)
            blocks.append(Block(needed, step, step))
    unused = [name for name in bytes if name not in homes]
    for name in unused:
        homes[name] = len(blocks)
        blocks.append(Block(bytes[name], 0, 0))
    return blocks, homes, scratch


def _uses(calls: Sequence[Call]) -> tuple[list[int], dict[str, int], Counter[str]]:
    """The step of each call; the last step in which a name is used, and by how many calls then."""
    steps = list(accumulate((int(not call.beside) for call in calls), initial=-1))[1:]
    last_use: dict[str, int] = {}
    users: Counter[str] = Counter()
    for step, call in zip(steps, calls, strict=True):
        for name in dict.fromkeys(call.arguments):
            users[name] = users[name] + 1 if last_use.get(name) == step else 1
            last_use[name] = step
    return steps, last_use, users


def _reused(
    program: Program, kernel: Kernel, call: Call, name: str, dying: Sequence[str],
    fits: Callable[[str, str, str], bool],
) -> str | None:  # fmt: skip
    """A temporary whose last use is this call and over which it may write `name`."""
    if call.arguments.count(name) != 1:
        return None
    names = [parameter.buffer.name for parameter in kernel.parameters]
    target = names[call.arguments.index(name)]
    own = program.buffer(name).buffer
    for other in dying:
        theirs = program.buffer(other).buffer
        same = theirs.dtype.bytes == own.dtype.bytes and theirs.shape == own.shape
        if not same or call.arguments.count(other) != 1:
            continue
        if fits(kernel.name, names[call.arguments.index(other)], target):
            return other
    return None
