"""The rules of scalar expressions in loops: names known, dtypes consistent, operators legal.

In: an expression and what is in scope. Out: nothing, or a `Fault` with a sentence.

    x[i] + 1      x: f32[N]     →     Fault: the operands of + differ: f32 and i64
"""

from __future__ import annotations

from collections.abc import Mapping

from stepwell.ir.dtypes import BOOL, I64, DType
from stepwell.ir.loop.core import Buffer
from stepwell.ir.scalar import (
    ARITHMETIC,
    BINARY,
    COMBINE,
    FLOAT_UNARY,
    LOGIC,
    PREDICATES,
    UNARY,
    Binary,
    Cast,
    Const,
    Expr,
    Horizontal,
    Load,
    Philox,
    Reduce,
    Select,
    Unary,
    Var,
    children,
)
from stepwell.ir.text import INFIX


class Fault(Exception):
    """A rule that an expression breaks."""


def check_expression(
    expr: Expr, variables: Mapping[str, DType], buffers: Mapping[str, Buffer]
) -> None:
    """Raises Fault for the first rule that the expression, or a part of it, breaks."""
    for child in children(expr):
        check_expression(child, variables, buffers)
    match expr:
        case Const():
            _const(expr)
        case Var(name=name, dtype=dtype):
            if name not in variables:
                raise Fault(f"`{name}` is not defined here")
            if dtype != variables[name]:
                raise Fault(f"`{name}` is {variables[name]}, used as {dtype}")
        case Load():
            _load(expr, buffers)
        case Unary(op=op, x=x):
            _unary(op, x.dtype)
        case Binary():
            _binary(expr)
        case Select(condition=condition, x=x, y=y):
            if condition.dtype != BOOL:
                raise Fault(f"select chooses by bool, this is {condition.dtype}")
            if x.dtype != y.dtype:
                raise Fault(f"select's values differ: {x.dtype} and {y.dtype}")
        case Philox():
            _philox(expr)
        case Horizontal():
            _horizontal(expr, buffers)
        case Reduce(kind=kind):
            raise Fault(f"the reduction `{kind}[…]` stands in formulas only")
        case Cast():
            pass


def _const(const: Const) -> None:
    dtype = const.dtype
    if dtype.is_int and not dtype.lowest <= const.value <= dtype.highest:
        raise Fault(f"the constant {const.value} does not fit {dtype}")


def _load(load: Load, buffers: Mapping[str, Buffer]) -> None:
    buffer = _buffer(load.buffer, load.dtype, buffers)
    if len(load.indices) != len(buffer.shape):
        count = len(buffer.shape)
        raise Fault(f"`{buffer.name}` has {count} dimensions, {len(load.indices)} subscripts")
    for index in load.indices:
        if index.dtype != I64:
            raise Fault(f"a subscript is i64, this is {index.dtype}")
    if load.guard is not None and load.guard.dtype != BOOL:
        raise Fault(f"a guard is bool, this is {load.guard.dtype}")


def _buffer(name: str, dtype: DType, buffers: Mapping[str, Buffer]) -> Buffer:
    if name not in buffers:
        raise Fault(f"there is no buffer `{name}` here")
    if dtype != buffers[name].dtype:
        raise Fault(f"`{name}` holds {buffers[name].dtype}, read as {dtype}")
    return buffers[name]


def _computes(op: str, dtype: DType) -> None:
    if dtype.compute != dtype:
        raise Fault(f"{op} on {dtype}: cast to {dtype.compute} first, {dtype} is for storage")


def _unary(op: str, dtype: DType) -> None:
    if op not in UNARY:
        raise Fault(f"there is no operator `{op}`")
    _computes(op, dtype)
    floats = op in FLOAT_UNARY or op in PREDICATES
    if (floats and not dtype.is_float) or (op == "not" and dtype.is_float):
        raise Fault(f"{op} does not take {dtype}")
    if op in ("neg", "abs", "sign") and dtype.is_bool:
        raise Fault(f"{op} does not take bool")


def _binary(expr: Binary) -> None:
    op, dtype = expr.op, expr.x.dtype
    if op not in BINARY:
        raise Fault(f"there is no operator `{op}`")
    shown = INFIX[op][0] if op in INFIX else op
    if dtype != expr.y.dtype:
        raise Fault(f"the operands of {shown} differ: {dtype} and {expr.y.dtype}")
    _computes(shown, dtype)
    wrong = op in LOGIC and dtype.is_float
    wrong |= op in ARITHMETIC and dtype.is_bool and op not in ("min", "max")
    wrong |= op == "div" and not dtype.is_float
    if wrong:
        raise Fault(f"{shown} does not take {dtype}")


def _philox(expr: Philox) -> None:
    for part in children(expr):
        if part.dtype != I64:
            raise Fault(f"philox takes a counter and a key in i64, this is {part.dtype}")
    if expr.word not in range(4):
        raise Fault(f"philox gives the words 0 to 3, not {expr.word}")


def _horizontal(expr: Horizontal, buffers: Mapping[str, Buffer]) -> None:
    buffer = _buffer(expr.buffer, expr.dtype, buffers)
    if expr.kind not in COMBINE:
        raise Fault(f"lanes are not combined by `{expr.kind}`")
    if buffer.space != "register":
        raise Fault(f"`{buffer.name}` is not in registers, so it has no lanes")
    if any(index.dtype != I64 for index in expr.indices):
        raise Fault(f"a subscript of `{buffer.name}` is not i64")
    logic = expr.kind in ("any", "all")
    if logic != expr.dtype.is_bool and expr.kind not in ("max", "min"):
        raise Fault(f"h{expr.kind} does not take {expr.dtype}")
    _computes(f"h{expr.kind}", expr.dtype)
