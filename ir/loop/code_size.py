"""How much code a block of statements becomes, unrolled loops repeated: an estimate.

In: statements, or a kernel. Out: a number of instructions, loads, stores and arithmetic alike.

    for r in 0..14 unrolled { for l in 0..16 vector { y[r, l] = x[r, l] * 2.0 } }   →   14 * 3

Strategies bound their register tiles by it, and modules are cut by it: what LLVM takes for a body
grows faster than the body.
"""

from __future__ import annotations

from stepwell.ir.loop.core import Alloc, Block, Check, For, If, Let, Prefetch, Store
from stepwell.ir.scalar import COST, Binary, Expr, Horizontal, Load, Philox, Select, Unary, walk

LOOP = 4  # the counter, its comparison and its branch


def code_size(block: Block) -> int:
    """Instructions of the statements, once unrolled."""
    return sum(_statement(statement) for statement in block)


def _statement(statement: object) -> int:
    match statement:
        case For(kind="unrolled", extent=int(extent), body=body):
            return extent * max(1, code_size(body))
        case For(body=body):
            return LOOP + code_size(body)
        case If(condition=condition, then=then, otherwise=otherwise):
            return _expression(condition) + code_size(then) + code_size(otherwise)
        case Store(indices=indices, value=value):
            return 1 + sum(map(_expression, indices)) + _expression(value)
        case Prefetch(indices=indices):
            return 1 + sum(map(_expression, indices))
        case Let(value=value) | Check(condition=value):
            return _expression(value)
        case Alloc():
            return 0
    raise AssertionError(f"no statement: {statement!r}")


def _expression(expr: Expr) -> int:
    return sum(_instructions(e) for e in walk(expr))


def _instructions(expr: Expr) -> int:
    match expr:
        case Unary(op=op) | Binary(op=op):
            return COST.get(op, 1)
        case Load() | Select() | Horizontal():
            return 1
        case Philox():
            return COST["philox"]
    return 0
