"""Comparisons of index values: the masks of vector loops.

In: two i64 values, uniform or advancing by a step per lane. Out: an i1, or a mask.

    16*i + l < N     →   %bound = N - 16*i, clamped to 0..16, as i32
                         %mask = icmp slt <16 x i32> <0, 1, …, 15>, splat(%bound)

One comparison of 32-bit lane numbers replaces two of 64-bit subscripts.
"""

from __future__ import annotations

from stepwell.codegen import arithmetic
from stepwell.codegen.state import Emission, add, scalar, scale, spread
from stepwell.codegen.values import (
    I32,
    I64,
    Linear,
    LLVMValue,
    constant,
    element_type,
    numbers,
)
from stepwell.ir.dtypes import BOOL
from stepwell.ir.dtypes import I64 as INDEX


def compare(e: Emission, op: str, x: Linear, y: Linear) -> LLVMValue | None:
    """A comparison of index values. With lanes one apart, of 32-bit lane numbers with a bound."""
    difference = add(e, x, scale(e, y, -1))
    if difference.is_constant:
        return constant(element_type(BOOL), _holds(op, difference.constant))
    if difference.step == 0:
        left, right = scalar(e, Linear(x.base, x.constant)), scalar(e, Linear(y.base, y.constant))
        if x.step == 0:
            return arithmetic.binary(e.builder, e.target, op, INDEX, left, right)
        zero = constant(I64, 0)
        return arithmetic.binary(e.builder, e.target, op, INDEX, scalar(e, difference), zero)
    if abs(difference.step) != 1 or e.lanes is None:
        return None
    # base + step*lane OP 0   ⇔   lane OP -base (step 1), or base OP lane (step -1)
    if difference.step == 1:
        bound = scale(e, Linear(difference.base, difference.constant), -1)
        low, high = _bounds(op, e.lanes)
    else:
        bound = Linear(difference.base, difference.constant)
        op = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}.get(op, op)
        low, high = _bounds(op, e.lanes)
    narrow = _clamped(e, bound, low, high)
    lanes = numbers(I32, list(range(e.lanes)))
    wide = spread(e, narrow, e.lanes)
    signs = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
    return e.builder.icmp_signed(signs[op], lanes, wide)


def _holds(op: str, difference: int) -> bool:
    match op:
        case "eq":
            return difference == 0
        case "ne":
            return difference != 0
        case "lt":
            return difference < 0
        case "le":
            return difference <= 0
        case "gt":
            return difference > 0
        case _:
            return difference >= 0


def _bounds(op: str, lanes: int) -> tuple[int, int]:
    """Beyond these, a bound on lane numbers makes no difference."""
    return (0, lanes) if op in ("lt", "ge") else (-1, lanes)


def _clamped(e: Emission, bound: Linear, low: int, high: int) -> LLVMValue:
    """The bound within [low, high], as i32."""
    if bound.base is None:
        return constant(I32, max(low, min(high, bound.constant)))
    value, least, most = scalar(e, bound), constant(I64, low), constant(I64, high)
    builder = e.builder
    value = builder.select(builder.icmp_signed("<", value, least), least, value)
    value = builder.select(builder.icmp_signed(">", value, most), most, value)
    return builder.trunc(value, I32)
