"""Pack an expression: compute it ahead into scratch, in the order in which it will be read.

    for i … { for j … { for k in 0..K { acc[] = acc[] + a[i, k] * f(b[k, j]) } } }
      pack f(b[k, j]) over (k, j), before the loop over i  →
    alloc packed: f32[K, N] scratch
    for k_1 in 0..K { for j_1 in 0..N { packed[k_1, j_1] = f(b[k_1, j_1]) } }
    for i … { for j … { for k in 0..K { acc[] = acc[] + a[i, k] * packed[k, j] } } }

The dimensions of the scratch buffer are loops of the nest, in any order: so a panel of a matrix
becomes contiguous. Conditions on those loops (tails) guard the loads, so spare places hold what the
expression gives for zeros. Legal where the expression reads only buffers that the nest does not
store to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepwell.ir.loop.analysis import (
    fresh_name,
    map_expressions,
    rename_variables,
    taken_names,
    writes,
)
from stepwell.ir.loop.core import Alloc, Block, Buffer, For, Kernel, LoopKind, Store
from stepwell.ir.scalar import Binary, Expr, Load, Var, loads
from stepwell.ir.size import Dim
from stepwell.lowering.transforms.navigate import (
    ScheduleError,
    find_loop,
    replace_loop,
    rewrite,
)


def pack(
    kernel: Kernel,
    expr: Expr,
    hint: str,
    loops: Sequence[tuple[str, Dim]],
    before: str,
    guards: Sequence[Expr] = (),
    kinds: Sequence[LoopKind] = (),
) -> Kernel:
    """Compute `expr` for all iterations of `loops` (index, room in the buffer) before a loop.

    `guards` are conditions on the loops' indices under which the loads may be read; `kinds` are the
    kinds of the packing loops, serial where not given. The scratch is allocated before that loop,
    so what is packed in an outer loop belongs to one iteration of it.
    """
    stored = writes((find_loop(kernel.body, before),))
    if any(load.buffer in stored for load in loads(expr)):
        raise ScheduleError(f"{hint}: what is packed is stored to in the loop")
    taken = taken_names(kernel)
    name = fresh_name(taken, hint)
    buffer = Buffer(name, expr.dtype, tuple(room for _, room in loops), "scratch")
    place = tuple(Var(index) for index, _ in loops)
    read = Load(name, place, expr.dtype)
    body = map_expressions(kernel.body, lambda e: rewrite(e, lambda x: read if x == expr else x))
    value = rewrite(expr, lambda x: _guard(x, guards))
    span = find_loop(kernel.body, before).span
    store = Store(name, place, value, span)
    fill: Block = (store,)
    for number in reversed(range(len(loops))):
        index, _ = loops[number]
        kind: LoopKind = kinds[number] if number < len(kinds) else "serial"
        extent = find_loop(kernel.body, index).extent
        fill = (For(index, extent, kind, fill, span),)
    fill = rename_variables(fill, {index: fresh_name(taken, index) for index, _ in loops})
    body = replace_loop(body, before, lambda loop: (Alloc(buffer, span), *fill, loop))
    return replace(kernel, body=body)


def _guard(expr: Expr, guards: Sequence[Expr]) -> Expr:
    if not isinstance(expr, Load):
        return expr
    for guard in guards:
        both = guard if expr.guard is None else Binary("and", guard, expr.guard)
        expr = replace(expr, guard=both)
    return expr
