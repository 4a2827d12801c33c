"""The iterations of a loop dealt out to tasks: in contiguous chunks, equal give or take one.

for i in 0..N { S(i) }
  →
for task in 0..T parallel {
  let first: i64 = task*N // T
  for i in 0..(task + 1)*N // T - task*N // T { S(first + i) }
}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stepwell.ir.dtypes import I64
from stepwell.ir.loop.analysis import (
    map_expressions,
    map_own_dims,
    map_own_expressions,
    map_statements,
)
from stepwell.ir.loop.core import Block, For, Let, Statement
from stepwell.ir.scalar import Binary, Expr, Var, as_dim, from_dim
from stepwell.ir.scalar import substitute as substitute_expr
from stepwell.ir.size import Dim, Size, exact_quotient, floordiv, substitute, symbol


@dataclass(frozen=True)
class Tasks:
    """The loop over tasks: its index, how many there are, and the `let` with a chunk's start."""

    index: str
    count: Dim
    first: str

    def start(self, extent: Dim) -> Dim:
        """The first iteration of a task, of so many in all."""
        return floordiv(symbol(self.index) * extent, self.count)

    def length(self, extent: Dim) -> Dim:
        """How many iterations a task has."""
        return floordiv((symbol(self.index) + 1) * extent, self.count) - self.start(extent)

    def shifted(self, index: str) -> Expr:
        """An iteration's number among all, by its number in the chunk."""
        return Binary("add", Var(self.first, I64), Var(index, I64))

    def around(self, inner: For, extent: Dim) -> For:
        """The loop over tasks, each of which does `inner`, its chunk of so many iterations."""
        start = Let(self.first, from_dim(self.start(extent)), inner.span)
        return For(self.index, self.count, "parallel", (start, inner), inner.span)


def deal(loop: For, tasks: Tasks) -> For:
    """The loop's iterations in chunks."""
    position = {loop.index: tasks.shifted(loop.index)}
    # The extents of loops are over sizes and indices: the `let` is not known there.
    dims = {loop.index: tasks.start(loop.extent) + symbol(loop.index)}
    body = map_statements(loop.body, lambda statement: _moved(statement, position, dims))
    return tasks.around(replace(loop, extent=tasks.length(loop.extent), body=body), loop.extent)


def _moved(
    statement: Statement, position: Mapping[str, Expr], dims: Mapping[str, Dim]
) -> Statement:
    statement = map_own_expressions(statement, lambda e: substitute_expr(e, dict(position)))
    return map_own_dims(statement, lambda dim: substitute(dim, dims))


def undealt(block: Block) -> Block:
    """The block with each dealt loop as it was: for analyses that look through the tasks."""

    def one(statement: Statement) -> Statement:
        if isinstance(statement, For) and statement.kind == "parallel":
            return _undealt(statement)
        return statement

    return map_statements(block, one)


def _undealt(loop: For) -> For:
    match loop.body:
        case (Let(name=first, value=value), For() as inner):
            tasks = Tasks(loop.index, loop.extent, first)
        case _:
            return loop
    extent = _dealt_extent(as_dim(value), loop.index)
    if extent is None or inner.extent != tasks.length(extent):
        return loop
    at_zero: dict[str, Expr] = {first: from_dim(0)}
    body = map_expressions(inner.body, lambda e: substitute_expr(e, at_zero))
    return replace(inner, extent=extent, body=body)


def _dealt_extent(start: Dim | None, task: str) -> Dim | None:
    """E where start = task*E // tasks."""
    if not isinstance(start, Size) or len(start.terms) != 1 or len(start.terms[0][0]) != 1:
        return None
    atom = start.terms[0][0][0]
    return exact_quotient(atom.left, symbol(task)) if atom.function == "floordiv" else None
