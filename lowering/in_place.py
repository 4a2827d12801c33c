"""When a kernel may write its result over one of its inputs.

In: a kernel and two of its parameters. Out: whether every element of the input is read for the
last time in the very turn of the loops that stores that element of the output.

    for i in 0..N { y[i] = exp(x[i]) }             yes
    for i in 0..N { y[i] = x[i] + x[N - 1 - i] }   no: x[N - 1 - i] is read in another turn
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stepwell.ir.loop.core import Block, Check, For, If, Kernel, Let, Store
from stepwell.ir.scalar import Expr, as_dim, coefficient, loads
from stepwell.ir.size import Dim, Size, provably_le
from stepwell.lowering.partition import undealt

Loops = tuple[tuple[str, Dim], ...]  # index and extent of each loop around, outside first


def can_reuse(kernel: Kernel, source: str, target: str) -> bool:
    """Whether the parameter `target` (out) may lie where `source` (in) lies."""
    written = [p for p in kernel.parameters if p.is_written]
    if len(written) != 1 or written[0].buffer.name != target:
        return False
    stored: tuple[tuple[Expr, ...], Loops] | None = None
    reads: list[tuple[Expr, ...]] = []
    for loops, exprs, store in _accesses(undealt(kernel.body), ()):
        found = [load for expr in exprs for load in loads(expr)]
        if any(load.buffer == target for load in found):
            return False
        here = [load.indices for load in found if load.buffer == source]
        if here and stored is not None:
            return False
        reads.extend(here)
        if store is not None and store.buffer == target:
            if stored is not None:
                return False
            stored = (store.indices, loops)
    if stored is None:
        return False
    indices, loops = stored
    return all(read == indices for read in reads) and _once(indices, loops)


def _accesses(block: Block, loops: Loops) -> Iterator[tuple[Loops, Sequence[Expr], Store | None]]:
    """The expressions that each statement evaluates, in order, with the loops around it."""
    for statement in block:
        match statement:
            case For(index=index, extent=extent, body=body):
                yield from _accesses(body, (*loops, (index, extent)))
            case If(condition=condition, then=then, otherwise=otherwise):
                yield loops, (condition,), None
                yield from _accesses(then, loops)
                yield from _accesses(otherwise, loops)
            case Let(value=value):
                yield loops, (value,), None
            case Check(condition=condition):
                yield loops, (condition,), None
            case Store(indices=indices, value=value):
                yield loops, (*indices, value), statement


def _once(indices: Sequence[Expr], loops: Loops) -> bool:
    """Whether no two turns of the loops store the same element: each loop's index is in just one
    subscript, and there its steps are at least as long as all that smaller steps cover."""
    dims = [as_dim(index) for index in indices]
    if any(dim is None or not _affine(dim) for dim in dims):
        return False
    extents = dict(loops)
    placed: set[str] = set()
    for dim in dims:
        assert dim is not None, "checked above"
        covered: Dim = 1
        for name, step in _steps(dim, extents):
            if name in placed or not provably_le(covered, step):
                return False
            placed.add(name)
            covered = step * extents[name]
    return placed == set(extents)


def _affine(dim: Dim) -> bool:
    return isinstance(dim, int) or all(
        atom.function == "symbol" for monomial, _ in dim.terms for atom in monomial
    )


def _steps(dim: Dim, extents: Mapping[str, Dim]) -> list[tuple[str, Dim]]:
    """Loop indices in a subscript with their coefficients, constant ones first, smallest first."""
    found = [(name, coefficient(dim, name)) for name in extents]
    steps = [(name, step) for name, step in found if step is not None and step != 0]
    return sorted(steps, key=lambda item: (isinstance(item[1], Size), str(item[1]).zfill(20)))
