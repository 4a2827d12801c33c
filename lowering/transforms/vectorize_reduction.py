"""Vectorise a reduction along its own axis: partial results in lanes, combined at the end.

    for k in 0..K { m[] = m[] + x[k] }
      →
    alloc m_lanes: f32[2, 16] register
    for u in 0..2 unrolled { for l in 0..16 vector { m_lanes[u, l] = 0.0 } }
    for k_0 in 0..K // 32 {
      for u in 0..2 unrolled { for l in 0..16 vector {
        m_lanes[u, l] = m_lanes[u, l] + x[32*k_0 + 16*u + l]
      } }
    }
    … the rest of K, masked, into m_lanes[0, l] …
    m[] = m[] + hsum(m_lanes)

The order of the additions changes, in a way that depends on K only. Legal for a loop over plain
statements that accumulate into scalar registers by sum, prod, max, min, any or all, and whose other
stores are by the loop's own index. No sum is part of another; what is stored beside is read at its
place alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stepwell.ir.loop.analysis import (
    fresh_copy,
    fresh_name,
    loads_of,
    map_own_expressions,
    register_names,
    stores_of,
    substitute_block,
    taken_names,
    writes,
)
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    Let,
    Statement,
    Store,
)
from stepwell.ir.scalar import (
    COMBINE,
    Binary,
    Expr,
    Horizontal,
    Load,
    Select,
    Unary,
    Var,
    as_dim,
    coefficient,
    from_dim,
    identity,
    index,
)
from stepwell.ir.size import Dim, ceildiv, floordiv, mod, symbol
from stepwell.lowering.transforms.navigate import (
    ScheduleError,
    find_loop,
    replace_loop,
    rewrite,
)

_KINDS = {combine: kind for kind, combine in COMBINE.items()}


def accumulators(loop: For, registers: frozenset[str]) -> dict[str, str] | None:
    """Register → reduction kind, where the loop is one that `vectorize_reduction` can do."""
    found: dict[str, str] = {}
    for statement in loop.body:
        match statement:
            case Store(
                buffer=name, indices=(), value=Binary(op=op, x=Load(buffer=same, guard=None))
            ) if name in registers and name == same and op in _KINDS:
                found[name] = _KINDS[op]
            case Store(buffer=name, indices=indices) if name not in registers:
                if not any(_advances(each, loop.index) for each in indices):
                    return None
            case Let() | Check():
                pass
            case _:
                return None
    return found if found and _are_apart(loop.body, found) else None


def _are_apart(body: Block, sums: Mapping[str, str]) -> bool:
    """Whether a sum is read and stored once each, where it grows, and what else is stored has one
    place in an iteration."""
    places: dict[str, list[tuple[Expr, ...]]] = {}
    accesses: list[Load | Store] = [*loads_of(body), *stores_of(body)]
    for access in accesses:
        places.setdefault(access.buffer, []).append(access.indices)
    once = all(len(places[name]) == 2 for name in sums)
    return once and all(len(set(places[name])) == 1 for name in writes(body))


def _advances(subscript: Expr, index: str) -> bool:
    """Whether it has another value in each iteration, the others' indices as they are."""
    dim = as_dim(subscript)
    step = None if dim is None else coefficient(dim, index)
    return isinstance(step, int) and step != 0


def vectorize_reduction(kernel: Kernel, loop_index: str, lanes: int, unroll: int) -> Kernel:
    """Vectorise the reduction loop over `loop_index`; see the module's docstring."""
    loop = find_loop(kernel.body, loop_index)
    kinds = accumulators(loop, register_names(kernel))
    if kinds is None:
        raise ScheduleError(f"the loop over {loop_index} is not a plain reduction")
    taken = taken_names(kernel)
    return replace(
        kernel,
        body=replace_loop(
            kernel.body, loop_index, lambda old: _vectorized(old, kinds, taken, lanes, unroll)
        ),
    )


def _vectorized(
    loop: For, kinds: dict[str, str], taken: set[str], lanes: int, unroll: int
) -> Block:
    dtypes = {s.buffer: s.value.dtype for s in loop.body if isinstance(s, Store)}
    partial = {
        name: Buffer(fresh_name(taken, f"{name}_lanes"), dtypes[name], (unroll, lanes), "register")
        for name in kinds
    }
    step = unroll * lanes
    whole = floordiv(loop.extent, step)
    block: list[Statement] = [Alloc(buffer, loop.span) for buffer in partial.values()]
    block.append(_start(partial, kinds, taken, lanes, unroll))
    if whole != 0:
        outer = fresh_name(taken, f"{loop.index}_0")
        u, lane = fresh_name(taken, "u"), fresh_name(taken, "l")
        position = symbol(outer) * step + symbol(u) * lanes + symbol(lane)
        body = _at(loop, position, partial, (Var(u), Var(lane)), None)
        inner = For(lane, lanes, "vector", body, loop.span)
        block.append(
            For(outer, whole, loop.kind, (For(u, unroll, "unrolled", (inner,)),), loop.span)
        )
    if mod(loop.extent, step) != 0:
        rest = replace(loop, body=fresh_copy(loop.body, taken) if whole != 0 else loop.body)
        outer, lane = fresh_name(taken, f"{loop.index}_1"), fresh_name(taken, "l")
        position = whole * step + symbol(outer) * lanes + symbol(lane)
        left = loop.extent - whole * step
        limit = None
        if mod(left, lanes) != 0:
            limit = Binary("lt", from_dim(position), from_dim(loop.extent))
        body = _at(rest, position, partial, (index(0), Var(lane)), limit, kinds)
        inner = For(lane, lanes, "vector", body, loop.span)
        block.append(For(outer, ceildiv(left, lanes), loop.kind, (inner,), loop.span))
    for name, buffer in partial.items():
        lanes_value = Horizontal(kinds[name], buffer.name, buffer.dtype)
        old = Load(name, (), buffer.dtype)
        block.append(Store(name, (), Binary(COMBINE[kinds[name]], old, lanes_value), loop.span))
    return tuple(block)


def _start(
    partial: dict[str, Buffer], kinds: dict[str, str], taken: set[str], lanes: int, unroll: int
) -> Statement:
    u, lane = fresh_name(taken, "u"), fresh_name(taken, "l")
    stores = tuple(
        Store(buffer.name, (Var(u), Var(lane)), identity(kinds[name], buffer.dtype))
        for name, buffer in partial.items()
    )
    return For(u, unroll, "unrolled", (For(lane, lanes, "vector", stores),))


def _at(
    loop: For,
    position: Dim,
    partial: dict[str, Buffer],
    at: tuple[Expr, Expr],
    limit: Expr | None,
    kinds: dict[str, str] | None = None,
) -> Block:
    """The loop's body at a position, accumulating into lanes; masked where there is a limit."""
    result: list[Statement] = []
    for statement in substitute_block(loop.body, {loop.index: from_dim(position)}):
        if limit is not None:
            statement = _masked(statement, limit, partial, kinds or {})
        match statement:
            case Store(buffer=name, value=Binary(op=op, y=term)) if name in partial:
                buffer = partial[name]
                old = Load(buffer.name, at, buffer.dtype)
                statement = Store(buffer.name, at, Binary(op, old, term), statement.span)
        result.append(statement)
    return tuple(result)


def _masked(
    statement: Statement, limit: Expr, partial: dict[str, Buffer], kinds: dict[str, str]
) -> Statement:
    def mask(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.indices:
            both = limit if expr.guard is None else Binary("and", limit, expr.guard)
            return replace(expr, guard=both)
        return expr

    match statement:
        case Store(buffer=name, value=Binary() as value) if name in partial:
            term = Select(limit, rewrite(value.y, mask), identity(kinds[name], value.dtype))
            return replace(statement, value=replace(value, y=term))
        case Store():
            return If(limit, (statement,), (), statement.span)
    masked = map_own_expressions(statement, lambda e: rewrite(e, mask))
    if isinstance(masked, Check):
        return replace(masked, condition=Binary("or", Unary("not", limit), masked.condition))
    return masked
