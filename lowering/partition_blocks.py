"""A loop over blocks dealt out to tasks by the parts of the blocks, so that tasks get equal work.

    for b in 0..(N + 3) // 4 { for i in 0..min(4, N - 4*b) { S(4*b + i, i) } }
      →
    for task in 0..T parallel {
      let first: i64 = task*N // T
      for b in 0..(n + 3) // 4 { for i in 0..min(4, n - 4*b) { S(first + 4*b + i, i) } }
    }                           where n = (task + 1)*N // T - task*N // T

Blocks begin anew in each task: only how much is done between two visits of a cache changes. That is
legal where the body uses b with i alone, as a function of 4*b + i, and the parts are independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace

from stepwell.ir.dtypes import I64
from stepwell.ir.loop.analysis import (
    allocations,
    kernel_buffers,
    map_own_expressions,
    map_statements,
    own_dims,
    own_expressions,
    writes,
)
from stepwell.ir.loop.core import For, Kernel, Statement, statements
from stepwell.ir.scalar import Expr, as_dim, coefficient, map_children, variables
from stepwell.ir.scalar import substitute as substitute_expr
from stepwell.ir.size import Dim, Size, ceildiv, minimum, substitute, symbol, symbols
from stepwell.lowering.dependence import (
    Access,
    Slice,
    accesses,
    known_names,
    ranges_of,
    share_an_axis,
    slice_of,
    subscripts,
)
from stepwell.lowering.partition import Tasks


@dataclass(frozen=True)
class Blocks:
    """What a loop over blocks goes over: `total` parts, `size` in a block, and who counts them."""

    loop: For
    size: int
    total: Dim
    parts: frozenset[str]  # indices of the loops over the parts of a block

    def length(self, total: Dim) -> Dim:
        """How many parts the block has, of so many in all."""
        return minimum(self.size, total - symbol(self.loop.index) * self.size)


def find_blocks(kernel: Kernel, loop: For) -> Blocks | None:
    """The blocks that a loop goes over, where their parts can be dealt out independently."""
    shapes = {_block_shape(s.extent, loop.index) for s in _loops(loop)} - {None}
    if len(shapes) != 1:
        return None
    (shape,) = shapes
    assert shape is not None, "discarded above"
    size, total = shape
    parts = (s.index for s in _loops(loop) if _block_shape(s.extent, loop.index))
    blocks = Blocks(loop, size, total, frozenset(parts))
    if loop.extent != ceildiv(total, size) or not _only_together(blocks):
        return None
    return blocks if _independent(kernel, blocks) else None


def deal_blocks(blocks: Blocks, tasks: Tasks) -> For:
    """The parts in chunks, each of them in blocks."""
    count = tasks.length(blocks.total)

    def one(statement: Statement) -> Statement:
        statement = map_own_expressions(statement, lambda e: _shifted(e, blocks, tasks))
        if isinstance(statement, For) and statement.index in blocks.parts:
            return replace(statement, extent=blocks.length(count))
        return statement

    body = map_statements(blocks.loop.body, one)
    inner = replace(blocks.loop, extent=ceildiv(count, blocks.size), body=body)
    return tasks.around(inner, blocks.total)


def _loops(loop: For) -> Iterator[For]:
    return (s for s in statements(loop.body) if isinstance(s, For))


def _block_shape(extent: Dim, index: str) -> tuple[int, Dim] | None:
    """(P, E) where the extent is min(P, E - P*index)."""
    if not isinstance(extent, Size) or len(extent.terms) != 1 or extent.terms[0][1] != 1:
        return None
    atoms = extent.terms[0][0]
    if len(atoms) != 1 or atoms[0].function != "min":
        return None
    for size, rest in ((atoms[0].left, atoms[0].right), (atoms[0].right, atoms[0].left)):
        total = rest + symbol(index) * size if isinstance(size, int) else 0
        if isinstance(size, int) and index in symbols(rest) and index not in symbols(total):
            return size, total
    return None


def _only_together(blocks: Blocks) -> bool:
    """Whether the block's number is used with that of one part alone, as size*block + part."""
    for statement in statements(blocks.loop.body):
        counts_parts = isinstance(statement, For) and statement.index in blocks.parts
        uses = any(blocks.loop.index in symbols(dim) for dim in own_dims(statement))
        if uses and not counts_parts:
            return False
        for expr in own_expressions(statement):
            if not all(_one_number(e, blocks) for e in _index_parts(expr, blocks)):
                return False
    return True


def _index_parts(expr: Expr, blocks: Blocks) -> Iterator[Expr]:
    """The largest integer expressions in it that use the block's number."""
    found: list[Expr] = []

    def see(e: Expr) -> Expr:
        if blocks.loop.index in variables(e):
            if e.dtype == I64 and as_dim(e) is not None:
                found.append(e)
            else:
                map_children(e, see)
        return e

    see(expr)
    yield from found


def _one_number(expr: Expr, blocks: Blocks) -> bool:
    """Whether the next block's part -size is this block's part 0: a function of their sum."""
    used = variables(expr) & blocks.parts
    dim = as_dim(expr)
    if len(used) != 1 or dim is None:
        return False
    (part,) = used
    block = blocks.loop.index
    moved = {block: symbol(block) + 1, part: symbol(part) - blocks.size}
    return substitute(dim, moved) == dim


def _shifted(expr: Expr, blocks: Blocks, tasks: Tasks) -> Expr:
    """Part i of a block is part first + i of all, where the block's number stands beside it."""
    if blocks.loop.index not in variables(expr):
        return expr
    if expr.dtype == I64 and as_dim(expr) is not None:
        (part,) = variables(expr) & blocks.parts
        return substitute_expr(expr, {part: tasks.shifted(part)})
    return map_children(expr, lambda child: _shifted(child, blocks, tasks))


# ---------------------------------------------------------------------- independence


def _independent(kernel: Kernel, blocks: Blocks) -> bool:
    """Whether no part of a block writes what another part, of any block, reads or writes."""
    own = {buffer.name for buffer in allocations(blocks.loop.body)}
    buffers = kernel_buffers(kernel)
    known = known_names(kernel)
    written = writes(blocks.loop.body) - own
    found = list(accesses(blocks.loop, written))
    for name in written:
        if buffers[name].space == "register":
            return False
        uses = (access for access in found if access.buffer == name)
        if not share_an_axis(_slices(known, access, blocks) for access in uses):
            return False
    return True


def _slices(known: Set[str], access: Access, blocks: Blocks) -> Iterator[tuple[object, Slice]]:
    """The slices of an axis whose subscript is c*(size*block + part) + r."""
    part = next((loop.index for loop in access.loops if loop.index in blocks.parts), None)
    if part is None:
        return
    inside = [loop for loop in access.loops if loop.index != part]
    for key, dim in subscripts(known, access):
        step = coefficient(dim, blocks.loop.index)
        if step is None:
            continue
        found = slice_of(dim - step * symbol(blocks.loop.index), part, ranges_of(inside))
        if found is not None and found.factor * blocks.size == step:
            yield key, found
