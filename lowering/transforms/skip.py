"""Pass over the parts of loops in which a condition on their numbers cannot hold.

    for c in 0..N // 32 {                      for c in 0..N // 32 {
      for l in 0..32 vector {                    if 32*c <= last {
        row[32*c + l] = …                  →       for l in 0..32 vector { row[32*c + l] = … }
    } }                                        } }

In: loops over what is kept of a row, each by parts of its own width. A part is done where `needed`
says so of the block around it, of `width` elements: all loops, and so what one stores for another,
leave out the same blocks. The caller knows that what is left out is not missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd, lcm

from stepwell.ir.loop.analysis import index_names, loads_of, stores_of
from stepwell.ir.loop.core import Block, For, If, Kernel, Statement, statements
from stepwell.ir.ranges import within
from stepwell.ir.scalar import Expr, as_dim, coefficient
from stepwell.ir.size import Dim, Size, floordiv, provably_le, substitute, symbol
from stepwell.lowering.dependence import most, ranges_of
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop

Needed = Callable[[Dim, Dim], Expr]  # the block's first and last element → whether it is needed


def common_width(kernel: Kernel, within: str, kept: frozenset[str]) -> int:
    """The width of blocks in which the parts of all loops inside `within` fit."""
    loops = (s for s in statements(find_loop(kernel.body, within).body) if isinstance(s, For))
    return lcm(*(_step(loop, kept) or 1 for loop in loops if loop.kind == "serial"))


def skip(kernel: Kernel, within: str, kept: frozenset[str], width: int, needed: Needed) -> Kernel:
    """The kernel that passes over blocks of the rows `kept`, in the loop `within`."""
    inside = _Skip(kept, width, needed)
    body = replace_loop(
        kernel.body, within, lambda loop: (replace(loop, body=inside.block(loop.body)),)
    )
    return replace(kernel, body=body)


@dataclass(frozen=True)
class _Skip:
    kept: frozenset[str]
    width: int
    needed: Needed

    def block(self, block: Block) -> Block:
        return tuple(self._statement(statement) for statement in block)

    def _statement(self, statement: Statement) -> Statement:
        if isinstance(statement, If):
            return replace(statement, then=self.block(statement.then))
        if not isinstance(statement, For):
            return statement
        step = _step(statement, self.kept)
        if step is None:
            return replace(statement, body=self.block(statement.body))
        if step == 1:  # a part by itself: what is left over behind others
            (start,) = {dim - symbol(statement.index) for dim in _columns(statement, self.kept)}
            return If(self._needed(start, most(statement.extent)), (statement,), (), statement.span)
        start = _start(statement, self.kept) + symbol(statement.index) * step
        needed = self._needed(start, _width(statement, self.kept, step))
        return replace(statement, body=(If(needed, statement.body, (), statement.span),))

    def _needed(self, start: Dim, width: Dim) -> Expr:
        """Whether a part is needed, which must lie in one block."""
        factors = [factor for _, factor in start.terms] if isinstance(start, Size) else [start]
        if not provably_le(width, gcd(self.width, *factors)):
            raise ScheduleError("a part of a row lies in several blocks")
        first = floordiv(start, self.width) * self.width
        return self.needed(first, first + (self.width - 1))


def places(block: Block, kept: frozenset[str]) -> list[tuple[Expr, ...]]:
    """The subscripts by which the block touches rows."""
    read = [load.indices for load in loads_of(block) if load.buffer in kept]
    return read + [store.indices for store in stores_of(block) if store.buffer in kept]


def _columns(loop: For, kept: frozenset[str]) -> list[Dim]:
    """The places of rows that the loop touches, over its index."""
    dims = [as_dim(indices[-1]) for indices in places((loop,), kept)]
    if any(dim is None for dim in dims):
        raise ScheduleError("a place in a row is not known")
    return [dim for dim in dims if dim is not None and coefficient(dim, loop.index) != 0]


def _step(loop: For, kept: frozenset[str]) -> int | None:
    """How far apart parts of rows are that two iterations touch; None where it is not a loop over
    such parts."""
    found = {coefficient(dim, loop.index) for dim in _columns(loop, kept)}
    if not found:
        return None
    step = found.pop()
    if found or not isinstance(step, int):
        raise ScheduleError(f"the loop over {loop.index} goes over rows in several ways")
    return step


def _start(loop: For, kept: frozenset[str]) -> Dim:
    """Where in rows the loop begins."""
    zero = dict.fromkeys([loop.index, *index_names(loop.body)], 0)
    start, *others = {substitute(dim, zero) for dim in _columns(loop, kept)}
    if others:
        raise ScheduleError(f"the loop over {loop.index} begins in several places of rows")
    return start


def _width(loop: For, kept: frozenset[str], step: int) -> int:
    """How much of rows an iteration touches: no more than up to where the next one begins."""
    ranges = ranges_of([s for s in statements(loop.body) if isinstance(s, For)])
    before = _start(loop, kept) + symbol(loop.index) * step
    if not all(within(dim - before, step, ranges) for dim in _columns(loop, kept)):
        raise ScheduleError(f"iterations over {loop.index} touch the same parts of rows")
    return step
