"""Scalar operators on LLVM values, one lane or many.

In: an operator's name, its dtype, LLVM values of one type. Out: the result's LLVM value.

    binary("max", F32, 0.0, %x)   →   %c = fcmp ogt <16 x float> zero, %x
                                      %m = select %c, zero, %x              one vmaxps

Integers wrap; `floordiv` and `mod` floor and give 0 where the divisor is 0; nothing traps. min and
max propagate NaN. Maths functions come from `stepwell.codegen.math`.
"""

from __future__ import annotations

import math
from typing import Any

from stepwell.codegen.math import MathTarget
from stepwell.codegen.math import emit as emit_function
from stepwell.codegen.values import (
    I1,
    LLVMValue,
    constant,
    constant_number,
    intrinsic,
    lanes_of,
    suffix,
    with_lanes,
)
from stepwell.ir.dtypes import F64, DType
from stepwell.ir.scalar import COMPARISONS
from stepwell.ir.target import Target

_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ROUNDING = {"floor": "floor", "ceil": "ceil", "round": "rint", "trunc": "trunc"}


def same_type_call(builder: Any, name: str, *operands: LLVMValue) -> LLVMValue:
    """An intrinsic whose result and operands have one type: `llvm.NAME.v16f32`."""
    type = operands[0].type
    return intrinsic(builder, f"llvm.{name}.{suffix(type)}", type, list(operands))


def fused(builder: Any, target: Target, x: LLVMValue, y: LLVMValue, addend: LLVMValue) -> LLVMValue:
    """x*y + addend: rounded once where the target has FMA."""
    if target.has_fma:
        return same_type_call(builder, "fma", x, y, addend)
    return builder.fadd(builder.fmul(x, y), addend)


def unary(builder: Any, target: Target, op: str, dtype: DType, x: LLVMValue) -> LLVMValue:
    """One of `scalar.UNARY`."""
    if op == "not":
        return builder.not_(x)
    if dtype.is_float:
        return _unary_float(builder, target, op, x)
    if not dtype.signed:  # u8 and bool
        one = constant(x.type, 1)
        if op == "neg":
            return builder.neg(x)
        return x if op == "abs" else builder.select(is_zero(builder, x), constant(x.type, 0), one)
    negative = builder.icmp_signed("<", x, constant(x.type, 0))
    match op:
        case "neg":
            return builder.neg(x)
        case "abs":
            return builder.select(negative, builder.neg(x), x)
        case "sign":
            above = builder.zext(builder.icmp_signed(">", x, constant(x.type, 0)), x.type)
            return builder.sub(above, builder.zext(negative, x.type))
    raise ValueError(f"no operator {op} on {dtype}")


def _unary_float(builder: Any, target: Target, op: str, x: LLVMValue) -> LLVMValue:
    zero = constant(x.type, 0.0)
    match op:
        case "neg":
            return builder.fneg(x)
        case "abs":
            return same_type_call(builder, "fabs", x)
        case "sqrt":
            return same_type_call(builder, "sqrt", x)
        case "sign":  # NaN stays; -0.0 + 0.0 is 0.0, as NumPy has it
            unit = same_type_call(builder, "copysign", constant(x.type, 1.0), x)
            return builder.select(builder.fcmp_ordered("!=", x, zero), unit, builder.fadd(x, zero))
        case "is_nan":
            return builder.fcmp_unordered("uno", x, zero)
        case "is_finite":
            size = same_type_call(builder, "fabs", x)
            return builder.fcmp_ordered("<", size, constant(x.type, math.inf))
        case "floor" | "ceil" | "round" | "trunc":
            return _rounded(builder, target, op, x)
    return emit_function(builder, op, [x], _math_target(target))


def _math_target(target: Target) -> MathTarget:
    scalef = target.has("avx512f") and target.has("avx512vl")
    return MathTarget(fma=target.has_fma, scalef=scalef)


def _rounded(builder: Any, target: Target, op: str, x: LLVMValue) -> LLVMValue:
    if target.architecture == "aarch64" or target.has("sse4.1"):
        return same_type_call(builder, _ROUNDING[op], x)
    return _rounded_by_addition(builder, op, x)


def _rounded_by_addition(builder: Any, op: str, x: LLVMValue) -> LLVMValue:
    """Rounding without an instruction for it (the intrinsic would call the maths library)."""
    double = "double" in str(x.type)
    big = constant(x.type, 2.0**52 if double else 2.0**23)
    size = same_type_call(builder, "fabs", x)
    near = builder.fsub(builder.fadd(size, big), big)  # to nearest even
    one, zero = constant(x.type, 1.0), constant(x.type, 0.0)
    if op == "trunc":
        over = builder.fcmp_ordered(">", near, size)
        near = builder.fsub(near, builder.select(over, one, zero))
    near = same_type_call(builder, "copysign", near, x)
    if op == "floor":
        over = builder.fcmp_ordered(">", near, x)
        near = builder.fsub(near, builder.select(over, one, zero))
    elif op == "ceil":
        under = builder.fcmp_ordered("<", near, x)
        near = builder.fadd(near, builder.select(under, one, zero))
        near = same_type_call(builder, "copysign", near, x)
    return builder.select(builder.fcmp_ordered("<", size, big), near, x)


def binary(
    builder: Any, target: Target, op: str, dtype: DType, x: LLVMValue, y: LLVMValue
) -> LLVMValue:
    """One of `scalar.BINARY`; `dtype` is that of the operands."""
    if op in COMPARISONS:
        return _compare(builder, op, dtype, x, y)
    if op in ("min", "max"):
        return _extremum(builder, target, op, dtype, x, y)
    if dtype.is_float:
        return _binary_float(builder, target, op, x, y)
    match op:
        case "add" | "sub" | "mul":
            return getattr(builder, op)(x, y)
        case "and" | "or":
            return getattr(builder, f"{op}_")(x, y)
        case "xor":
            return builder.xor(x, y)
        case "floordiv" | "mod":
            return _floor_division(builder, op, dtype, x, y)
        case "pow":
            return _integer_power(builder, dtype, x, y)
    raise ValueError(f"no operator {op} on {dtype}")


def _compare(builder: Any, op: str, dtype: DType, x: LLVMValue, y: LLVMValue) -> LLVMValue:
    if dtype.is_float:
        compare = builder.fcmp_unordered if op == "ne" else builder.fcmp_ordered
        return compare(_COMPARE[op], x, y)
    compare = builder.icmp_signed if dtype.signed else builder.icmp_unsigned
    return compare(_COMPARE[op], x, y)


def _never_nan(value: LLVMValue) -> bool:
    number = constant_number(value)
    return number is not None and not math.isnan(number)


def _extremum(
    builder: Any, target: Target, op: str, dtype: DType, x: LLVMValue, y: LLVMValue
) -> LLVMValue:
    sign = "<" if op == "min" else ">"
    if not dtype.is_float:
        compare = builder.icmp_signed if dtype.signed else builder.icmp_unsigned
        return builder.select(compare(sign, x, y), x, y)
    if target.carries_nan:
        return same_type_call(builder, "minimum" if op == "min" else "maximum", x, y)
    if _never_nan(y):
        x, y = y, x
    result = extremum_of_numbers(builder, op, x, y)
    if _never_nan(x):
        return result
    return builder.select(builder.fcmp_unordered("uno", x, x), x, result)


def extremum_of_numbers(builder: Any, op: str, x: LLVMValue, y: LLVMValue) -> LLVMValue:
    """x86's maxps or minps, `x > y ? x : y`: a NaN in either gives y."""
    return builder.select(builder.fcmp_ordered("<" if op == "min" else ">", x, y), x, y)


def _binary_float(builder: Any, target: Target, op: str, x: LLVMValue, y: LLVMValue) -> LLVMValue:
    match op:
        case "add" | "sub" | "mul" | "div":
            return getattr(builder, f"f{op}")(x, y)
        case "pow":
            return emit_function(builder, "pow", [x, y], _math_target(target))
        case "floordiv" | "mod":
            quotient, rest = _float_floor_division(builder, target, x, y)
            return quotient if op == "floordiv" else rest
    raise ValueError(f"no operator {op} on floats")


def _float_floor_division(
    builder: Any, target: Target, x: LLVMValue, y: LLVMValue
) -> tuple[LLVMValue, LLVMValue]:
    """(x // y, x % y) as in Python; where x / y passes the fraction's precision, approximately."""
    zero, one = constant(x.type, 0.0), constant(x.type, 1.0)
    ratio = builder.fdiv(x, y)
    quotient = _rounded(builder, target, "floor", ratio)
    product = fused(builder, target, builder.fneg(quotient), y, x)
    # A quotient of 0 leaves x itself, also where y is infinite and 0*y is NaN.
    rest = builder.select(builder.fcmp_ordered("==", quotient, zero), x, product)
    # x / y was rounded, so its floor may be one too small, or one too large.
    size_rest, size_y = (same_type_call(builder, "fabs", v) for v in (rest, y))
    over = builder.fcmp_ordered(">=", size_rest, size_y)
    rest = builder.select(over, builder.fsub(rest, y), rest)
    quotient = builder.select(over, builder.fadd(quotient, one), quotient)
    opposite = builder.fcmp_ordered("<", builder.fmul(rest, _sign(builder, y)), zero)
    rest = builder.select(opposite, builder.fadd(rest, y), rest)
    quotient = builder.select(opposite, builder.fsub(quotient, one), quotient)
    # An infinite x has no floor quotient: NaN, as NumPy has it, but for x // 0.
    infinite = builder.fcmp_ordered(
        "==", same_type_call(builder, "fabs", x), constant(x.type, math.inf)
    )
    undefined = builder.and_(infinite, builder.fcmp_ordered("!=", y, zero))
    return builder.select(undefined, constant(x.type, math.nan), quotient), rest


def _sign(builder: Any, x: LLVMValue) -> LLVMValue:
    return same_type_call(builder, "copysign", constant(x.type, 1.0), x)


def is_zero(builder: Any, x: LLVMValue) -> LLVMValue:
    """Whether an integer is 0."""
    return builder.icmp_unsigned("==", x, constant(x.type, 0))


def _floor_division(builder: Any, op: str, dtype: DType, x: LLVMValue, y: LLVMValue) -> LLVMValue:
    """Integer floordiv or mod for any divisor: 0 gives 0, the lowest over -1 wraps."""
    number = constant_number(y)
    if isinstance(number, int) and number > 0 and number & (number - 1) == 0:
        return _by_power_of_two(builder, op, dtype, x, number)
    zero, one = constant(x.type, 0), constant(x.type, 1)
    by_zero = is_zero(builder, y)
    if not dtype.signed:
        divisor = builder.select(by_zero, one, y)
        operate = builder.udiv if op == "floordiv" else builder.urem
        return builder.select(by_zero, zero, operate(x, divisor))
    by_minus_one = builder.icmp_signed("==", y, constant(x.type, -1))
    # Division by -1 is negation, which wraps where the machine's division would trap.
    divisor = builder.select(builder.or_(by_zero, by_minus_one), one, y)
    quotient = builder.sdiv(x, divisor)
    rest = builder.sub(x, builder.mul(quotient, divisor))
    crossed = builder.icmp_signed("<", builder.xor(rest, divisor), zero)
    down = builder.and_(crossed, builder.not_(is_zero(builder, rest)))
    if op == "mod":
        result = builder.select(down, builder.add(rest, divisor), rest)
        return builder.select(by_zero, zero, result)
    result = builder.select(down, builder.sub(quotient, one), quotient)
    result = builder.select(by_minus_one, builder.neg(x), result)
    return builder.select(by_zero, zero, result)


def _by_power_of_two(builder: Any, op: str, dtype: DType, x: LLVMValue, number: int) -> LLVMValue:
    """x divided by 2^n: flooring is what an arithmetic shift does, and a mask."""
    if op == "mod":
        return builder.and_(x, constant(x.type, number - 1))
    shift = builder.ashr if dtype.signed else builder.lshr
    return shift(x, constant(x.type, number.bit_length() - 1))


def _integer_power(builder: Any, dtype: DType, x: LLVMValue, y: LLVMValue) -> LLVMValue:
    """x**y by squaring, wrapping. A negative exponent gives 1/x cut to an integer."""
    zero, one = constant(x.type, 0), constant(x.type, 1)
    result, square = one, x
    for bit in range(dtype.bits):
        mask = builder.and_(y, constant(x.type, 1 << bit))
        taken = builder.icmp_unsigned("!=", mask, zero)
        result = builder.select(taken, builder.mul(result, square), result)
        square = builder.mul(square, square)
    if not dtype.signed:
        return result
    minus_one = constant(x.type, -1)
    odd = builder.icmp_unsigned("!=", builder.and_(y, one), zero)
    unit = builder.select(odd, x, one)
    is_one = builder.icmp_signed("==", x, one)
    is_unit = builder.or_(is_one, builder.icmp_signed("==", x, minus_one))
    inverse = builder.select(is_unit, unit, zero)
    return builder.select(builder.icmp_signed("<", y, zero), inverse, result)


def truth(lanes: int | None, value: bool) -> LLVMValue:
    """A constant mask."""
    return constant(with_lanes(I1, lanes), value)


__all__ = ["F64", "binary", "fused", "lanes_of", "same_type_call", "truth", "unary"]
