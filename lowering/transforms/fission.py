"""Cut a loop in two behind the last statement that stores to a buffer.

    for j in 0..N {                          alloc acc_all: f32[N] scratch
      alloc acc: f32 register                for j in 0..N {
      acc[] = 0.0                              alloc acc: f32 register
      for k in 0..K {                          acc[] = 0.0
        acc[] = acc[] + w[j, k]          →     for k in 0..K { acc[] = acc[] + w[j, k] }
      }                                        acc_all[j] = acc[]
      y[j] = exp(acc[])                      }
    }                                        for j_1 in 0..N { y[j_1] = exp(acc_all[j_1]) }

Each loop can then be scheduled in its own way. A register that the second half reads is kept in
scratch; scratch that each iteration uses for itself gets one more dimension. The iterations must be
independent, as those of a result's axes are.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import (
    fresh_name,
    kernel_buffers,
    map_expressions,
    map_statements,
    reads,
    stores_of,
    substitute_block,
    taken_names,
    variables_of,
    writes,
)
from stepwell.ir.loop.core import Alloc, Block, Buffer, For, Kernel, Let, Statement, Store
from stepwell.ir.scalar import Expr, Load, Var, variables
from stepwell.ir.size import Dim, provably_le
from stepwell.lowering.dependence import most
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop, rewrite


def fission(kernel: Kernel, index: str, stored: str, room: Dim) -> tuple[Kernel, str]:
    """Cut the loop over `index` behind what stores to `stored`; also gives the second loop's index.

    `room` is the most iterations that the loop has: the new dimension of scratch.
    """
    loop = find_loop(kernel.body, index)
    at = 1 + max((i for i, s in enumerate(loop.body) if stored in writes((s,))), default=-1)
    first, second = loop.body[:at], loop.body[at:]
    lets = {s.name for s in first if isinstance(s, Let)} & variables_of(second)
    if lets or not first or not second:
        raise ScheduleError(f"the loop over {index} cannot be cut behind {stored}")
    require_room(loop, room)
    taken = taken_names(kernel)
    rename = fresh_name(taken, index)
    kept = {
        s.buffer.name: replace(
            s.buffer, name=fresh_name(taken, f"{s.buffer.name}_all"), shape=(room,), space="scratch"
        )
        for s in first
        if isinstance(s, Alloc) and s.buffer.name in reads(second)
    }
    if any(kernel_buffers(kernel)[name].shape or name in writes(second) for name in kept):
        raise ScheduleError(f"a register is used on both sides of the cut behind {stored}")
    copies = tuple(
        Store(new.name, (Var(index),), Load(old, (), new.dtype), loop.span)
        for old, new in kept.items()
    )
    second = map_expressions(second, lambda e: rewrite(e, lambda x: _from_scratch(x, kept, index)))
    private = _private(kernel, loop, first, second)
    halves = [_widened((*first, *copies), private, index), _widened(second, private, index)]
    loops = (
        replace(loop, body=halves[0]),
        replace(loop, index=rename, body=substitute_block(halves[1], {index: Var(rename)})),
    )
    body = replace_loop(kernel.body, index, lambda _: loops)
    body = map_statements(body, lambda s: _allocated(s, private, room))
    return replace(kernel, body=(*(Alloc(b, loop.span) for b in kept.values()), *body)), rename


def require_room(loop: For, room: Dim) -> None:
    """ScheduleError where the loop may have more iterations than there are places."""
    if not provably_le(most(loop.extent), room):
        raise ScheduleError(f"the loop over {loop.index} may have more than {room} iterations")


def widen(kernel: Kernel, index: str, room: Dim) -> Kernel:
    """Give scratch that each iteration of the loop over `index` uses for itself a place for each.

    for i in 0..N { t[] = x[i]  y[i] = t[] }   →   for i in 0..N { t[i] = x[i]  y[i] = t[i] }
    """
    loop = find_loop(kernel.body, index)
    private = _private(kernel, loop, loop.body, loop.body)
    wide = replace(loop, body=_widened(loop.body, private, index))
    body = replace_loop(kernel.body, index, lambda _: (wide,))
    return replace(kernel, body=map_statements(body, lambda s: _allocated(s, private, room)))


def _from_scratch(expr: Expr, kept: dict[str, Buffer], index: str) -> Expr:
    if isinstance(expr, Load) and expr.buffer in kept:
        return Load(kept[expr.buffer].name, (Var(index),), expr.dtype)
    return expr


def _private(kernel: Kernel, loop: For, first: Block, second: Block) -> frozenset[str]:
    """Scratch that the halves share and whose place does not depend on the loop."""
    scratch = {b.name for b in kernel_buffers(kernel).values() if b.space == "scratch"}
    return frozenset(
        store.buffer
        for store in stores_of(first)
        if store.buffer in scratch & reads(second)
        and not any(loop.index in variables(subscript) for subscript in store.indices)
    )


def _widened(block: Block, private: frozenset[str], index: str) -> Block:
    def in_expr(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer in private:
            return replace(expr, indices=(Var(index), *expr.indices))
        return expr

    def in_store(statement: Statement) -> Statement:
        if isinstance(statement, Store) and statement.buffer in private:
            return replace(statement, indices=(Var(index), *statement.indices))
        return statement

    return map_statements(map_expressions(block, lambda e: rewrite(e, in_expr)), in_store)


def _allocated(statement: Statement, private: frozenset[str], room: Dim) -> Statement:
    if isinstance(statement, Alloc) and statement.buffer.name in private:
        buffer = statement.buffer
        return replace(statement, buffer=replace(buffer, shape=(room, *buffer.shape)))
    return statement
