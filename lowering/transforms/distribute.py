"""Distribute a loop over the parts of its body; registers that the parts share become scratch.

    for j in 0..N {                        alloc acc: f32[N] scratch
      alloc acc: f32 register              for j in 0..N { acc[j] = 0.0 }
      acc[] = 0.0                          for k in 0..K {
      for k in 0..K {                 →      for j_1 in 0..N { acc[j_1] = acc[j_1] + w[k, j_1] }
        acc[] = acc[] + w[k, j]            }
      }                                    for j_2 in 0..N { y[j_2] = acc[j_2] }
      y[j] = acc[]
    }

So `w` is read row by row. The iterations of the loop must be independent, as those of a result's
axes are. See `localize` for working in a register inside of k, `fission` for a cut without a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepwell.ir.loop.analysis import (
    fresh_name,
    map_expressions,
    map_statements,
    reads,
    substitute_block,
    taken_names,
    variables_of,
    writes,
)
from stepwell.ir.loop.core import Alloc, Block, Buffer, For, Kernel, Let, Statement, Store
from stepwell.ir.scalar import Expr, Load, Var
from stepwell.ir.size import Dim, symbols
from stepwell.lowering.transforms.fission import require_room
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop, rewrite


def distribute(kernel: Kernel, index: str, past: str, room: Dim) -> Kernel:
    """Push the loop over `index` past the loop `past`, a statement of its body.

    `room` is the most iterations that the loop has: the new dimension of what becomes scratch.
    """
    loop = find_loop(kernel.body, index)
    at = _position(loop, past)
    inner = loop.body[at]
    assert isinstance(inner, For)
    require_room(loop, room)
    if index in symbols(inner.extent):
        raise ScheduleError(f"the extent of {past} depends on {index}")
    parts = _Parts(kernel, loop, [loop.body[:at], inner.body, loop.body[at + 1 :]], room)
    before, middle, after = parts.loops()
    return parts.replaced((*before, replace(inner, body=middle), *after))


def _position(loop: For, index: str) -> int:
    for at, statement in enumerate(loop.body):
        if isinstance(statement, For) and statement.index == index:
            return at
    raise ScheduleError(f"the loop over {index} is not a statement of the loop over {loop.index}")


class _Parts:
    """The parts of a loop's body, each to get a loop of its own."""

    def __init__(self, kernel: Kernel, loop: For, parts: Sequence[Block], room: Dim) -> None:
        self.kernel, self.loop, self.parts = kernel, loop, parts
        self.taken = taken_names(kernel)
        self.shared: dict[str, Buffer] = {}  # register in several parts → its scratch
        for number, part in enumerate(parts):
            elsewhere = [p for other, p in enumerate(parts) if other != number]
            for statement in part:
                self._declare(statement, elsewhere, room)

    def _declare(self, statement: Statement, elsewhere: Sequence[Block], room: Dim) -> None:
        match statement:
            case Let(name=name) if any(name in variables_of(part) for part in elsewhere):
                raise ScheduleError(f"{name} is used past the loop")
            case Alloc(buffer=buffer):
                if any(buffer.name in reads(part) | writes(part) for part in elsewhere):
                    shape = (room, *buffer.shape)
                    self.shared[buffer.name] = replace(buffer, shape=shape, space="scratch")

    def loops(self) -> list[tuple[For, ...]]:
        """A loop around each part; none where there is nothing to do."""
        result: list[tuple[For, ...]] = []
        first = True
        for part in self.parts:
            body = map_statements(self._expanded(part), self._without_alloc)
            if not body:
                result.append(())
                continue
            name = self.loop.index if first else fresh_name(self.taken, self.loop.index)
            body = substitute_block(body, {self.loop.index: Var(name)})
            result.append((replace(self.loop, index=name, body=body),))
            first = False
        return result

    def replaced(self, statements: Block) -> Kernel:
        allocations = tuple(Alloc(buffer, self.loop.span) for buffer in self.shared.values())
        body = replace_loop(self.kernel.body, self.loop.index, lambda _: statements)
        return replace(self.kernel, body=(*allocations, *body))

    def _expanded(self, part: Block) -> Block:
        own = Var(self.loop.index)

        def in_expr(expr: Expr) -> Expr:
            if isinstance(expr, Load) and expr.buffer in self.shared:
                return replace(expr, indices=(own, *expr.indices))
            return expr

        def in_store(statement: Statement) -> Statement:
            if isinstance(statement, Store) and statement.buffer in self.shared:
                return replace(statement, indices=(own, *statement.indices))
            return statement

        return map_statements(map_expressions(part, lambda e: rewrite(e, in_expr)), in_store)

    def _without_alloc(self, statement: Statement) -> Statement | Block:
        shared = isinstance(statement, Alloc) and statement.buffer.name in self.shared
        return () if shared else statement
