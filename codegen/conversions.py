"""Conversions between element types, f16 and bf16 storage included.

In: an LLVM value (scalar or vector) in register form, and dtypes. Out: the converted value.

    from_storage(i16, BF16)   →   %w = zext i16 %v to i32;  %s = shl %w, 16;  bitcast to float

f16 converts in hardware where there is any, else by integer arithmetic, never by a runtime
library. Casts from float to integer saturate and take NaN to 0.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from stepwell.codegen.values import (
    I8,
    I32,
    LLVMType,
    LLVMValue,
    constant,
    element_type,
    intrinsic,
    lanes_of,
    storage_type,
    suffix,
    with_lanes,
)
from stepwell.ir.dtypes import BF16, BOOL, F16, DType
from stepwell.ir.target import Target

I16 = ir.IntType(16)


def from_storage(builder: Any, target: Target, value: LLVMValue, dtype: DType) -> LLVMValue:
    """What was loaded, in register form."""
    lanes = lanes_of(value)
    if dtype == BOOL:
        return builder.icmp_unsigned("!=", value, constant(with_lanes(I8, lanes), 0))
    if dtype == BF16:
        wide = builder.zext(value, with_lanes(I32, lanes))
        shifted = builder.shl(wide, constant(wide.type, 16))
        return builder.bitcast(shifted, with_lanes(ir.FloatType(), lanes))
    if dtype == F16:
        if target.has_f16c:
            half = builder.bitcast(value, with_lanes(ir.HalfType(), lanes))
            return builder.fpext(half, with_lanes(ir.FloatType(), lanes))
        return _f16_to_f32(builder, value)
    return value


def to_storage(builder: Any, target: Target, value: LLVMValue, dtype: DType) -> LLVMValue:
    """A register value as it is stored."""
    lanes = lanes_of(value)
    if dtype == BOOL:
        return builder.zext(value, with_lanes(I8, lanes))
    if dtype == BF16:
        return _f32_to_bf16(builder, value)
    if dtype == F16:
        if target.has_f16c:
            half = builder.fptrunc(value, with_lanes(ir.HalfType(), lanes))
            return builder.bitcast(half, with_lanes(I16, lanes))
        return _f32_to_f16(builder, value)
    return value


def cast(builder: Any, target: Target, value: LLVMValue, source: DType, result: DType) -> LLVMValue:
    """A register value of one dtype as another; to f16 and bf16 it is rounded."""
    if source == result:
        return value
    lanes = lanes_of(value)
    type = with_lanes(element_type(result), lanes)
    if result == BOOL:
        zero = constant(value.type, 0)
        if source.is_float:
            return builder.fcmp_unordered("!=", value, zero)
        return builder.icmp_unsigned("!=", value, zero)
    if source.is_float and result.is_float:
        return _float_to_float(builder, target, value, source, result)
    if source.is_float:
        return _saturate(builder, value, type, result)
    if result.is_float:
        convert = builder.sitofp if source.signed else builder.uitofp
        wide = convert(value, type)
        return round_to(builder, target, wide, result)
    if result.bits > source.bits:
        extend = builder.sext if source.signed else builder.zext
        return extend(value, type)
    return value if result.bits == source.bits else builder.trunc(value, type)


def round_to(builder: Any, target: Target, value: LLVMValue, dtype: DType) -> LLVMValue:
    """A float rounded to what `dtype` can hold, still in register form."""
    if dtype not in (F16, BF16):
        return value
    return from_storage(builder, target, to_storage(builder, target, value, dtype), dtype)


def _float_to_float(
    builder: Any, target: Target, value: LLVMValue, source: DType, result: DType
) -> LLVMValue:
    type = with_lanes(element_type(result), lanes_of(value))
    if source.bits == 64 and result.bits < 64:
        if result.bits == 16:  # rounding twice must round to odd in between
            value = _f64_to_f32_odd(builder, value)
        else:
            value = builder.fptrunc(value, type)
    elif result.bits == 64:
        value = builder.fpext(value, type)
    return value if result.bits > 16 else round_to(builder, target, value, result)


def _f64_to_f32_odd(builder: Any, value: LLVMValue) -> LLVMValue:
    """f64 to f32, rounded to odd where inexact, so that rounding again to 16 bits is right."""
    lanes = lanes_of(value)
    near = builder.fptrunc(value, with_lanes(ir.FloatType(), lanes))
    bits = builder.bitcast(near, with_lanes(I32, lanes))
    back = builder.fpext(near, value.type)
    inexact = builder.fcmp_ordered("!=", back, value)
    size = intrinsic(builder, f"llvm.fabs.{suffix(value.type)}", value.type, [value])
    size_back = intrinsic(builder, f"llvm.fabs.{suffix(value.type)}", value.type, [back])
    over = builder.fcmp_ordered(">", size_back, size)
    # Truncate towards zero (one step back where rounding went away from it), then set the last bit.
    toward_zero = builder.sub(bits, builder.zext(over, bits.type))
    odd = builder.or_(toward_zero, constant(bits.type, 1))
    return builder.bitcast(builder.select(inexact, odd, bits), near.type)


def _saturate(builder: Any, value: LLVMValue, type: LLVMType, result: DType) -> LLVMValue:
    name = "llvm.fptosi.sat" if result.signed else "llvm.fptoui.sat"
    return intrinsic(builder, f"{name}.{suffix(type)}.{suffix(value.type)}", type, [value])


def _f32_to_bf16(builder: Any, value: LLVMValue) -> LLVMValue:
    """Round to nearest even on the upper half; NaN stays NaN."""
    lanes = lanes_of(value)
    wide, narrow = with_lanes(I32, lanes), with_lanes(I16, lanes)
    bits = builder.bitcast(value, wide)
    upper = builder.lshr(bits, constant(wide, 16))
    bias = builder.add(builder.and_(upper, constant(wide, 1)), constant(wide, 0x7FFF))
    rounded = builder.lshr(builder.add(bits, bias), constant(wide, 16))
    quiet = builder.or_(upper, constant(wide, 0x40))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, quiet, rounded), narrow)


def _f16_to_f32(builder: Any, value: LLVMValue) -> LLVMValue:
    """Exact, by integers: shift the exponent's field, rebias, and let a subtraction normalise."""
    lanes = lanes_of(value)
    wide, real = with_lanes(I32, lanes), with_lanes(ir.FloatType(), lanes)
    bits = builder.zext(value, wide)
    sign = builder.shl(builder.and_(bits, constant(wide, 0x8000)), constant(wide, 16))
    shifted = builder.shl(builder.and_(bits, constant(wide, 0x7FFF)), constant(wide, 13))
    exponent = builder.and_(shifted, constant(wide, 0x0F800000))
    normal = builder.add(shifted, constant(wide, 112 << 23))
    special = builder.add(normal, constant(wide, 112 << 23))  # infinity and NaN
    # A subnormal h·2^-24 is (2^-14 + h·2^-24) - 2^-14.
    lifted = builder.bitcast(builder.add(normal, constant(wide, 1 << 23)), real)
    small = builder.bitcast(builder.fsub(lifted, constant(real, 2.0**-14)), wide)
    is_special = builder.icmp_unsigned("==", exponent, constant(wide, 0x0F800000))
    is_small = builder.icmp_unsigned("==", exponent, constant(wide, 0))
    magnitude = builder.select(is_special, special, builder.select(is_small, small, normal))
    return builder.bitcast(builder.or_(magnitude, sign), real)


def _f32_to_f16(builder: Any, value: LLVMValue) -> LLVMValue:
    """Round to nearest even by integers; too large becomes infinity, NaN stays NaN."""
    lanes = lanes_of(value)
    wide, real = with_lanes(I32, lanes), with_lanes(ir.FloatType(), lanes)
    bits = builder.bitcast(value, wide)
    sign = builder.and_(builder.lshr(bits, constant(wide, 16)), constant(wide, 0x8000))
    size = builder.and_(bits, constant(wide, 0x7FFFFFFF))
    # Subnormal results: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
    lifted = builder.fadd(builder.bitcast(size, real), constant(real, 0.5))
    small = builder.sub(builder.bitcast(lifted, wide), constant(wide, 0x3F000000))
    even = builder.and_(builder.lshr(size, constant(wide, 13)), constant(wide, 1))
    biased = builder.add(builder.add(size, constant(wide, 0xFFF - (112 << 23))), even)
    normal = builder.lshr(biased, constant(wide, 13))
    is_small = builder.icmp_unsigned("<", size, constant(wide, 113 << 23))
    is_large = builder.icmp_unsigned(">=", size, constant(wide, 143 << 23))
    is_nan = builder.icmp_unsigned(">", size, constant(wide, 0x7F800000))
    large = builder.select(is_nan, constant(wide, 0x7E00), constant(wide, 0x7C00))
    magnitude = builder.select(is_large, large, builder.select(is_small, small, normal))
    return builder.trunc(builder.or_(magnitude, sign), with_lanes(I16, lanes))


__all__ = ["cast", "from_storage", "round_to", "storage_type", "to_storage"]
