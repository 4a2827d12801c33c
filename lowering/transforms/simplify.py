"""Simplify index arithmetic under the ranges of the loops around it.

    for j_0 in 0..4 { for l in 0..16 vector { y[(16*j_0 + l) // 64] … } }   →   y[0]

Conditions and guards that always hold, or the parts of them that do, go away; so do loops without
iterations.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.dtypes import BOOL, I64
from stepwell.ir.loop.analysis import map_own_expressions, map_statements, substitute_block
from stepwell.ir.loop.core import Block, For, If, Kernel, Let, Statement
from stepwell.ir.ranges import Ranges, simplify
from stepwell.ir.scalar import Binary, Const, Expr, Load, Select, Var, index, map_children
from stepwell.ir.size import Dim
from stepwell.lowering.survey import always


def simplify_kernel(kernel: Kernel) -> Kernel:
    """The kernel with simpler subscripts and conditions."""
    return replace(kernel, body=_block(kernel.body, {}))


def without_single_loops(kernel: Kernel) -> Kernel:
    """Loops of one iteration replaced by their bodies, vector loops aside."""

    def inline(statement: Statement) -> Statement | Block:
        if isinstance(statement, For) and statement.extent == 1 and statement.kind != "vector":
            return substitute_block(statement.body, {statement.index: index(0)})
        return statement

    return simplify_kernel(replace(kernel, body=map_statements(kernel.body, inline)))


def _block(block: Block, ranges: dict[str, Dim | None]) -> Block:
    result: list[Statement] = []
    data = {s.name: None for s in block if isinstance(s, Let)}
    ranges = ranges | data if data else ranges
    for statement in block:
        statement = map_own_expressions(statement, lambda e: _expr(e, ranges))
        match statement:
            case For(index=name, extent=extent, body=body):
                inner = _block(body, {**ranges, name: extent})
                if inner and extent != 0:
                    result.append(replace(statement, body=inner))
            case If(condition=condition, then=then, otherwise=otherwise):
                if always(condition, ranges):
                    result.extend(_block(then, ranges))
                else:
                    yes, no = _block(then, ranges), _block(otherwise, ranges)
                    result.append(replace(statement, then=yes, otherwise=no))
            case _:
                result.append(statement)
    return tuple(result)


def _expr(expr: Expr, ranges: Ranges) -> Expr:
    if expr.dtype == I64:
        simpler = simplify(expr, ranges)
        if simpler is not expr or isinstance(expr, (Const, Var)):
            return simpler
    expr = map_children(expr, lambda child: _expr(child, ranges))
    if isinstance(expr, Load) and expr.guard is not None and always(expr.guard, ranges):
        return replace(expr, guard=None)
    match expr:
        case Select(condition=condition, x=x) if always(condition, ranges):
            return x
        case Binary(op="and", x=x, y=y) if expr.dtype == BOOL:
            sure = [always(side, ranges) for side in (x, y)]
            return y if sure[0] else x if sure[1] else expr
    return expr
