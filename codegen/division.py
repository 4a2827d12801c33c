"""Division of indices: floordiv and mod where more is known than for any two integers.

In: i64 values, an operator, whether both are known not to be negative. Out: the quotient or the
remainder, or None where only the general way is right.

    (16*k + l) // 112     →     q = 16*k // 112, r = 16*k % 112 once for all lanes,
                                then q + 1 on the lanes where r + l >= 112, else q

Machines have no vector division of integers. Lanes that are far apart, or a divisor that is not
constant, go through f64: floor(x / y) is exact there, as indices are below 2^52.
"""

from __future__ import annotations

from llvmlite import ir

from stepwell.codegen import arithmetic
from stepwell.codegen.state import Emission, alike, materialise, scalar, spread
from stepwell.codegen.values import (
    I32,
    I64,
    Linear,
    LLVMValue,
    Value,
    constant,
    lanes_of,
    numbers,
    with_lanes,
)
from stepwell.ir.dtypes import I64 as INDEX

_TWO_52 = 2.0**52
_BITS_2_52 = 0x4330000000000000  # of 2^52 as f64: an integer below it may stand in the low bits


def divided(
    e: Emission, op: str, x: Value, y: Value, nonnegative: tuple[bool, bool]
) -> Value | None:
    """x // y or x % y."""
    if isinstance(x, Linear) and isinstance(y, Linear) and y.is_constant and y.constant > 0:
        if x.step == 0:
            return Linear(_by_constant(e, op, scalar(e, x), y.constant, nonnegative[0]))
        span = abs(x.step) * (e.lanes or 1)
        if x.step > 0 and y.constant + span < 2**31:
            return _lanes_by_constant(e, op, x, y.constant)
    if all(nonnegative):
        left, right = alike(e, materialise(e, x), materialise(e, y))
        if lanes_of(left) is not None:
            return _through_f64(e, op, left, right)
    return None


def _by_constant(e: Emission, op: str, x: LLVMValue, divisor: int, nonnegative: bool) -> LLVMValue:
    """A scalar divided by a positive constant."""
    number, builder = constant(I64, divisor), e.builder
    if divisor & (divisor - 1) == 0:
        if op == "mod":
            return builder.and_(x, constant(I64, divisor - 1))
        shift = constant(I64, divisor.bit_length() - 1)
        return builder.lshr(x, shift) if nonnegative else builder.ashr(x, shift)
    if nonnegative:
        return builder.udiv(x, number) if op == "floordiv" else builder.urem(x, number)
    return arithmetic.binary(builder, e.target, op, INDEX, x, number)


def _lanes_by_constant(e: Emission, op: str, x: Linear, divisor: int) -> LLVMValue:
    """base + step*lane divided by a constant: lane 0 in i64, the rest in small integers."""
    builder, lanes = e.builder, e.lanes or 1
    first = scalar(e, x)
    quotient = _by_constant(e, "floordiv", first, divisor, False)
    rest = builder.sub(first, builder.mul(quotient, constant(I64, divisor)))
    steps = [x.step * lane for lane in range(lanes)]
    type = with_lanes(I32, lanes)
    sums = builder.add(spread(e, builder.trunc(rest, I32), lanes), numbers(I32, steps))
    if steps[-1] < divisor:  # at most one lane begins the next multiple
        wrapped = builder.icmp_signed(">=", sums, constant(type, divisor))
        extra = builder.zext(wrapped, type)
    else:
        extra = builder.udiv(sums, constant(type, divisor))
    wide = with_lanes(I64, lanes)
    if op == "floordiv":
        return builder.add(spread(e, quotient, lanes), builder.zext(extra, wide))
    rests = builder.sub(sums, builder.mul(extra, constant(type, divisor)))
    return builder.zext(rests, wide)


def _through_f64(e: Emission, op: str, x: LLVMValue, y: LLVMValue) -> LLVMValue:
    """Lanes of indices (at least 0, below 2^52) divided; 0 where the divisor is 0."""
    builder = e.builder
    left, right = _to_f64(e, x), _to_f64(e, y)
    quotient = arithmetic.unary(
        builder, e.target, "floor", arithmetic.F64, builder.fdiv(left, right)
    )
    if op == "mod":
        quotient = builder.fsub(left, builder.fmul(quotient, right))
    shifted = builder.fadd(quotient, constant(quotient.type, _TWO_52))
    bits = builder.bitcast(shifted, x.type)
    number = builder.xor(bits, constant(x.type, _BITS_2_52))
    return builder.select(arithmetic.is_zero(builder, y), constant(x.type, 0), number)


def _to_f64(e: Emission, x: LLVMValue) -> LLVMValue:
    bits = e.builder.or_(x, constant(x.type, _BITS_2_52))
    lifted = e.builder.bitcast(bits, with_lanes(ir.DoubleType(), lanes_of(x)))
    return e.builder.fsub(lifted, constant(lifted.type, _TWO_52))
