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


def packings(kernel: Kernel) -> tuple[Packing, ...]:
    """The constant nests of a kernel, those that share no buffer apart."""
    names = _constant_scratch(kernel)
    nests = _constant_nests(kernel, names)
    rest = [s for s in _nests(kernel) if not any(s is nest for nest in nests)]
    read = reads(tuple(rest))
    found = []
    for group in _connected(nests):
        own = reads(tuple(group)) | writes(tuple(group))
        allocations = [s for s in kernel.body if isinstance(s, Alloc) and s.buffer.name in own]
        results = tuple(s.buffer for s in allocations if s.buffer.name in read)
        found.append(Packing((*allocations, *group), results))
    return tuple(packing for packing in found if packing.results)


def _nests(kernel: Kernel) -> list[Statement]:
    return [s for s in kernel.body if not isinstance(s, Alloc)]


def _constant_scratch(kernel: Kernel) -> frozenset[str]:
    """The largest set of scratch buffers that constant nests over that set alone write."""
    names = frozenset(
        s.buffer.name
        for s in kernel.body
        if isinstance(s, Alloc) and s.buffer.space == "scratch" and not _symbolic(s.buffer)
    )
    while names:
        nests = _constant_nests(kernel, names)
        kept = frozenset(name for name in names if _is_packed(kernel, name, nests))
        if kept == names:
            break
        names = kept
    return names


def _constant_nests(kernel: Kernel, scratch: frozenset[str]) -> list[Statement]:
    constants = {
        p.buffer.name for p in kernel.parameters if p.role == "const" and not _symbolic(p.buffer)
    }
    return [s for s in _nests(kernel) if _is_constant(s, constants | scratch, scratch)]


def _symbolic(buffer: Buffer) -> bool:
    return any(symbols(dim) for dim in buffer.shape)


def _is_constant(nest: Statement, known: set[str], scratch: frozenset[str]) -> bool:
    """Whether a statement reads only what is known, writes only scratch, and can't fail."""
    block = (nest,)
    local = set(bound_names(block))
    written = writes(block) - local
    if not written or not written <= scratch or not reads(block) - local <= known:
        return False
    if any(isinstance(s, Check) for s in statements(block)):
        return False
    return variables_of(block) <= local


def _is_packed(kernel: Kernel, name: str, nests: Sequence[Statement]) -> bool:
    """Whether constant nests, and they alone, write a buffer, all before others read it."""
    written = read = False
    for statement in _nests(kernel):
        constant = any(statement is nest for nest in nests)
        if name in writes((statement,)):
            if not constant or read:
                return False
            written = True
        read = read or (not constant and name in reads((statement,)))
    return written


def _connected(nests: Sequence[Statement]) -> list[list[Statement]]:
    """The nests in groups, in order: those that share a scratch buffer are in one."""
    groups: list[tuple[list[Statement], frozenset[str]]] = []
    for nest in nests:
        touched = writes((nest,))
        near = [g for g in groups if g[1] & (touched | reads((nest,)))]
        groups = [g for g in groups if not any(g is other for other in near)]
        members = [statement for group, _ in near for statement in group]
        names = touched.union(*(written for _, written in near))
        groups.append(([*members, nest], names))
    return [group for group, _ in groups]
