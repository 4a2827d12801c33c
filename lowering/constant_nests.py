"""Which nests of a kernel are over constant operands alone, so that they can run before any input.

In: a scheduled kernel. Out: its `Packing`s: nests at the top that read `const` parameters and what
such nests wrote, and write scratch that nothing else writes; with what the rest reads of it.

    alloc t: f32[64, 16] scratch
    alloc u: f32[4, 64, 4] scratch
    for i … { t[…] = transform(w[…]) }      →   Packing({the allocations, two nests}, results (u))
    for j … { u[…] = t[…] }
    for n … { y[…] = x[…] * u[…] }
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepwell.ir.loop.analysis import bound_names, reads, variables_of, writes
from stepwell.ir.loop.core import Alloc, Block, Buffer, Check, Kernel, Statement, statements
from stepwell.ir.size import symbols


@dataclass(frozen=True)
class Packing:
    """Statements that belong together, and the scratch buffers that others read."""

    body: Block
    results: tuple[Buffer, ...]


@dataclass(frozen=True, eq=False)
class _Nest:
    """A statement at the top of a kernel, what it touches, and whether all that it depends on are
    buffers: it uses no size, and can't fail."""

    statement: Statement
    reads: frozenset[str]
    writes: frozenset[str]
    closed: bool

    @staticmethod
    def of(statement: Statement) -> _Nest:
        block = (statement,)
        local = frozenset(bound_names(block))
        fails = any(isinstance(s, Check) for s in statements(block))
        closed = not fails and variables_of(block) <= local
        return _Nest(statement, reads(block) - local, writes(block) - local, closed)


def packings(kernel: Kernel) -> tuple[Packing, ...]:
    """The constant nests of a kernel, those that share no buffer apart."""
    nests = [_Nest.of(s) for s in kernel.body if not isinstance(s, Alloc)]
    constant = _constant_nests(kernel, nests, _constant_scratch(kernel, nests))
    read = frozenset[str]().union(*(nest.reads for nest in nests if nest not in constant))
    found = []
    for group in _connected(constant):
        own = frozenset[str]().union(*(nest.reads | nest.writes for nest in group))
        allocations = [s for s in kernel.body if isinstance(s, Alloc) and s.buffer.name in own]
        results = tuple(s.buffer for s in allocations if s.buffer.name in read)
        found.append(Packing((*allocations, *(nest.statement for nest in group)), results))
    return tuple(packing for packing in found if packing.results)


def _constant_scratch(kernel: Kernel, nests: Sequence[_Nest]) -> frozenset[str]:
    """The largest set of scratch buffers that constant nests over that set alone write."""
    names = frozenset(
        s.buffer.name
        for s in kernel.body
        if isinstance(s, Alloc) and s.buffer.space == "scratch" and not _symbolic(s.buffer)
    )
    while names:
        constant = _constant_nests(kernel, nests, names)
        kept = frozenset(name for name in names if _is_packed(name, nests, constant))
        if kept == names:
            break
        names = kept
    return names


def _constant_nests(kernel: Kernel, nests: Sequence[_Nest], scratch: frozenset[str]) -> list[_Nest]:
    """Those that read only constants and this scratch, and write only this scratch."""
    known = scratch.union(
        p.buffer.name for p in kernel.parameters if p.role == "const" and not _symbolic(p.buffer)
    )
    return [
        nest
        for nest in nests
        if nest.closed and nest.writes and nest.writes <= scratch and nest.reads <= known
    ]


def _symbolic(buffer: Buffer) -> bool:
    return any(symbols(dim) for dim in buffer.shape)


def _is_packed(name: str, nests: Sequence[_Nest], constant: Sequence[_Nest]) -> bool:
    """Whether constant nests, and they alone, write a buffer, all before others read it."""
    written = read = False
    for nest in nests:
        ours = nest in constant
        if name in nest.writes:
            if not ours or read:
                return False
            written = True
        read = read or (not ours and name in nest.reads)
    return written


def _connected(nests: Sequence[_Nest]) -> list[list[_Nest]]:
    """The nests in groups, in order: those that share a scratch buffer are in one."""
    groups: list[tuple[list[_Nest], frozenset[str]]] = []
    for nest in nests:
        near = [g for g in groups if g[1] & (nest.writes | nest.reads)]
        groups = [g for g in groups if not any(g is other for other in near)]
        members = [each for group, _ in near for each in group]
        names = nest.writes.union(*(written for _, written in near))
        groups.append(([*members, nest], names))
    return [group for group, _ in groups]
