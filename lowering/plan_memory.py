"""The memory plan: where each temporary and each call's scratch lies in the one workspace.

In: a program. Out: the same with offsets, and the bytes of workspace that a run needs. Preparations
have a workspace of their own, for scratch and for what only other preparations read.

    a: temporary, 256 N bytes, live in calls 0..1          a at 0
    b: temporary, 128 N bytes, live in calls 1..2    →     b at 256 N
    c: temporary, 256 N bytes, live in calls 2..3          c at 0        workspace 384 N

Blocks whose lives overlap never share bytes, for any value of the sizes. Two packings are tried
and the smaller one (at nominal sizes) is kept: *by unit*, where blocks that are constants times the
same product of sizes are packed like constants; and *by slot*, where a slot is as large as the
largest block that it ever holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from stepwell.ir.loop.core import (
    ALIGNMENT,
    Call,
    Kernel,
    Program,
    ProgramBuffer,
    aligned,
    scratch_bytes,
)
from stepwell.ir.size import Dim, Size, evaluate, maximum, provably_le, substitute
from stepwell.lowering.fusion_group import nominal
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
        packings = [_by_unit(blocks), _by_slot(blocks)] if self.reuse else [_in_a_row(blocks)]
        offsets, workspace = min(packings, key=lambda packing: nominal(packing[1]))
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
    apart, _, _ = _blocks(_Run.of(program), reuse=False)
    peak: Dim = 0
    for i in range(len(program.calls)):
        live = sum((b.bytes for b in blocks if b.first <= i <= b.last), start=0)
        peak = maximum(peak, live)
    naive = sum((block.bytes for block in apart), start=0)
    return MemoryReport(program.workspace or 0, naive, peak)


@dataclass
class _Block:
    """Bytes needed from the first to the last of some calls, both included."""

    raw: Dim
    first: int
    last: int

    @property
    def bytes(self) -> Dim:
        return aligned(self.raw)

    def overlaps(self, other: _Block) -> bool:
        return self.first <= other.last and other.first <= self.last


_Packing = tuple[list[Dim], Dim]  # an offset for each block, and the bytes of all


def _blocks(run: _Run, reuse: bool) -> tuple[list[_Block], dict[str, int], dict[int, int]]:
    """The blocks; which one each buffer lies in; which one is each call's scratch."""
    program = run.program
    kernels = {kernel.name: kernel for kernel in program.kernels}
    bytes = {item.buffer.name: aligned(item.buffer.bytes) for item in run.buffers}
    blocks: list[_Block] = []
    homes: dict[str, int] = {}
    scratch: dict[int, int] = {}
    last_use = {name: i for i, call in enumerate(run.calls) for name in call.arguments}
    for i, call in enumerate(run.calls):
        kernel = kernels[call.kernel]
        for name in dict.fromkeys(call.arguments):
            if name in bytes and name not in homes:
                dying = (
                    [n for n in call.arguments if n in homes and last_use[n] == i] if reuse else []
                )
                home = _reused(program, kernel, call, name, dying)
                if home is not None and blocks[homes[home]].last == i:
                    homes[name] = homes[home]
                else:
                    homes[name] = len(blocks)
                    blocks.append(_Block(bytes[name], i, i))
                blocks[homes[name]].last = last_use[name]
        needed = substitute(scratch_bytes(kernel), dict(zip(kernel.sizes, call.sizes, strict=True)))
        if needed != 0:
            scratch[i] = len(blocks)
            blocks.append(_Block(needed, i, i))
    unused = [name for name in bytes if name not in homes]
    for name in unused:
        homes[name] = len(blocks)
        blocks.append(_Block(bytes[name], 0, 0))
    return blocks, homes, scratch


def _reused(
    program: Program, kernel: Kernel, call: Call, name: str, dying: Sequence[str]
) -> str | None:
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
        if can_reuse(kernel, names[call.arguments.index(other)], target):
            return other
    return None


def _in_a_row(blocks: Sequence[_Block]) -> _Packing:
    offsets: list[Dim] = []
    total: Dim = 0
    for block in blocks:
        offsets.append(total)
        total = total + block.bytes
    return offsets, total


def _by_slot(blocks: Sequence[_Block]) -> _Packing:
    """Each block in the free slot that fits best; a slot grows to the largest of its blocks."""
    slots: list[Dim] = []
    free_after: list[int] = []
    homes = [0] * len(blocks)
    for i in sorted(range(len(blocks)), key=lambda i: (blocks[i].first, i)):
        block = blocks[i]
        free = [s for s in range(len(slots)) if free_after[s] < block.first]
        if free:
            home = min(free, key=lambda s: _misfit(slots[s], block.bytes))
            if not provably_le(block.bytes, slots[home]):
                slots[home] = maximum(slots[home], block.bytes)
        else:
            home = len(slots)
            slots.append(block.bytes)
            free_after.append(-1)
        homes[i], free_after[home] = home, block.last
    starts, total = _in_a_row([_Block(size, 0, 0) for size in slots])
    return [starts[home] for home in homes], total


def _misfit(slot: Dim, bytes: Dim) -> tuple[int, int]:
    """What a slot would grow by, then what it would waste, at nominal sizes."""
    room, need = nominal(slot), nominal(bytes)
    return max(0, need - room), max(0, room - need)


def _by_unit(blocks: Sequence[_Block]) -> _Packing:
    """Blocks of c*U bytes, U the same product of sizes, packed together as constants; what is no
    such product is laid in slots. The parts follow one another."""
    parts: dict[Dim, list[int]] = {}
    for i, block in enumerate(blocks):
        parts.setdefault(_unit(block.raw)[0], []).append(i)
    offsets: list[Dim] = [0] * len(blocks)
    base: Dim = 0
    for unit, members in sorted(parts.items(), key=lambda part: str(part[0])):
        inside = [blocks[i] for i in members]
        if unit == 0:
            places, size = _by_slot(inside)
        else:
            counts = [-(-_unit(block.raw)[1] // ALIGNMENT) * ALIGNMENT for block in inside]
            plain, bytes = _pack(counts, inside)
            places, size = [unit * place for place in plain], unit * bytes
        for i, place in zip(members, places, strict=True):
            offsets[i] = base + place
        base = base + size
    return offsets, base


def _unit(bytes: Dim) -> tuple[Dim, int]:
    """(U, c) where the bytes are c*U, U a product of symbols; (0, 0) where they are no such."""
    if isinstance(bytes, int):
        return 1, bytes
    if len(bytes.terms) == 1:
        monomial, factor = bytes.terms[0]
        if all(atom.function == "symbol" for atom in monomial):
            return Size(((monomial, 1),)), factor
    return 0, 0


def _pack(sizes: Sequence[int], blocks: Sequence[_Block]) -> tuple[list[int], int]:
    """Offsets of constant sizes: the largest first, each at the lowest place that is free for as
    long as it lives ("greedy by size", Pisarchyk and Lee 2020, section 4.2)."""
    order = sorted(range(len(blocks)), key=lambda i: (-sizes[i], blocks[i].first, i))
    offsets = [0] * len(blocks)
    placed: list[int] = []
    for i in order:
        place = 0
        for j in sorted(placed, key=offsets.__getitem__):
            if blocks[i].overlaps(blocks[j]) and offsets[j] < place + sizes[i]:
                place = max(place, offsets[j] + sizes[j])
        offsets[i] = place
        placed.append(i)
    return offsets, max((offsets[i] + sizes[i] for i in placed), default=0)
