"""How long a scheduled nest takes, roughly: to decide whether sharing it among threads pays.

In: a block and the buffers in it. Out: clock cycles, as a dim over the kernel's sizes.

    for i in 0..N { for l in 0..16 vector { y[16*i + l] = exp(x[16*i + l]) } }   →   about 10*N

Every scalar operation of a vector loop counts as one instruction. Arithmetic on registers: four a
cycle; memory: by the bytes, for a parameter of a kernel is often in no near cache.
"""

from __future__ import annotations

from collections.abc import Mapping

from stepwell.ir.dtypes import I64
from stepwell.ir.loop.analysis import own_expressions
from stepwell.ir.loop.core import Block, Buffer, For, If, Statement, Store
from stepwell.ir.scalar import COST, Binary, Cast, Expr, Load, Philox, Select, Unary, walk
from stepwell.ir.size import Dim, evaluate, floordiv, substitute, symbols

UNKNOWN = 1024  # what a symbolic size counts as
_SHARES = 4  # of a cycle: the unit of the sums here
_WIDE = 16  # iterations of a vector loop that one instruction does
_BYTES = 8  # of memory in a share


def cycles(block: Block, buffers: Mapping[str, Buffer]) -> Dim:
    """Of one run of the block; indices of loops around it count as they are."""
    return floordiv(_shares(block, buffers, 1), _SHARES)


def estimate(dim: Dim) -> int:
    """The dim with every symbol at UNKNOWN."""
    return evaluate(dim, dict.fromkeys(symbols(dim), UNKNOWN))


def _shares(block: Block, buffers: Mapping[str, Buffer], lanes: int) -> Dim:
    total: Dim = 0
    for statement in block:
        match statement:
            case For(index=index, extent=extent, kind=kind, body=body):
                if kind == "vector" and isinstance(extent, int):
                    inside = _shares(body, buffers, min(extent, _WIDE))
                    times: Dim = max(1, extent // _WIDE)
                else:
                    inside, times = _shares(body, buffers, lanes), extent
                # Blocks at the end may be smaller than the first.
                total = total + times * substitute(inside, {index: 0})
            case If(condition=condition, then=then, otherwise=otherwise):
                total = total + _expression(condition, buffers, lanes)
                total = total + _shares(then, buffers, lanes) + _shares(otherwise, buffers, lanes)
            case _:
                total = total + _statement(statement, buffers, lanes)
    return total


def _statement(statement: Statement, buffers: Mapping[str, Buffer], lanes: int) -> int:
    total = sum(_expression(expr, buffers, lanes) for expr in own_expressions(statement))
    if isinstance(statement, Store):
        total += _access(buffers.get(statement.buffer), lanes)
    return total


def _expression(expr: Expr, buffers: Mapping[str, Buffer], lanes: int) -> int:
    total = 0
    for part in walk(expr):
        match part:
            case Unary(op=op) | Binary(op=op) if part.dtype != I64:
                total += COST.get(op, 1)
            case Cast() | Select():
                total += 1
            case Philox():
                total += COST["philox"]
            case Load(buffer=name):
                total += _access(buffers.get(name), lanes)
    return total


def _access(buffer: Buffer | None, lanes: int) -> int:
    if buffer is None or buffer.space == "register":
        return 0
    if buffer.space == "scratch":
        return 1
    return max(1, lanes * buffer.dtype.bytes // _BYTES)
