"""The exact reduction of large arguments by π/2, one lane at a time.

In: a `Real` of finite or infinite lanes ≥ 1. Out: r with |r| ≤ π/4 and a quadrant; NaN for
infinity.

    x = M · 2^k   →   M · (192 bits of 2/π, from that which weighs 2 after · 2^k), modulo 4

Method: M. H. Payne, R. N. Hanek, *Radian reduction for trigonometric functions*, SIGNUM Newsletter
18 (1983). Bits of 2/π whose product with x is a multiple of 4 are skipped, those too small to
matter are not reached; what is between is multiplied in integers. An f32 is reduced as an f64,
which it is exactly. The function is emitted once per module, the table of 2/π (1,280 bits, the
first 64 zero) with it.
"""

from __future__ import annotations

import itertools
import math

from llvmlite import ir

from stepwell.codegen.math.formats import F32
from stepwell.codegen.math.lanes import Bits, Real

_I64, _I128 = ir.IntType(64), ir.IntType(128)
_RESULT = ir.LiteralStructType([ir.DoubleType(), _I64])
_FUNCTION, _TABLE = "stepwell.math.reduce_by_half_pi", "stepwell.math.two_over_pi"

_TWO_OVER_PI = (
    0x0000000000000000, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041,
    0xFE5163ABDEBBC561, 0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484, 0xE99C7026B45F7E41, 0x3991D639835339F4, 0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB,
)  # fmt: skip


def reduce_lanes(x: Real) -> tuple[Real, Bits]:
    """r and the quadrant of every lane of x ≥ 1."""
    lanes, builder = x.lanes, x.lanes.builder
    function = _function(builder.module)
    if lanes.count is None:
        r, quadrant = _reduce_one(builder, function, x.value)
        return Real(lanes, r), Bits(lanes, quadrant)
    reals = ir.Constant(lanes.real_type, ir.Undefined)
    quadrants = ir.Constant(lanes.bits_type, ir.Undefined)
    for lane in range(lanes.count):
        index = ir.Constant(ir.IntType(32), lane)
        r, quadrant = _reduce_one(builder, function, builder.extract_element(x.value, index))
        reals = builder.insert_element(reals, r, index)
        quadrants = builder.insert_element(quadrants, quadrant, index)
    return Real(lanes, reals), Bits(lanes, quadrants)


def _reduce_one(
    builder: ir.IRBuilder, function: ir.Function, x: ir.Value
) -> tuple[ir.Value, ir.Value]:
    narrow = isinstance(x.type, ir.FloatType)
    pair = builder.call(function, [builder.fpext(x, ir.DoubleType()) if narrow else x])
    r, quadrant = builder.extract_value(pair, 0), builder.extract_value(pair, 1)
    if not narrow:
        return r, quadrant
    return builder.fptrunc(r, x.type), builder.trunc(quadrant, ir.IntType(F32.width))


def _function(module: ir.Module) -> ir.Function:
    """The module's `{double, i64} reduce(double)`, defined at its first use."""
    if _FUNCTION in module.globals:
        return module.globals[_FUNCTION]
    function = ir.Function(module, ir.FunctionType(_RESULT, [ir.DoubleType()]), _FUNCTION)
    function.linkage = "internal"
    for attribute in ("noinline", "cold", "nounwind"):
        function.attributes.add(attribute)
    _define(function)
    return function


def _define(function: ir.Function) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    bits = builder.bitcast(function.args[0], _I64)
    biased = builder.lshr(bits, _i64(52))
    significand = builder.or_(builder.and_(bits, _i64(2**52 - 1)), _i64(2**52))
    product = _times_two_over_pi(builder, significand, builder.sub(biased, _i64(1013)))

    # `product` / 2^126 is x · 2/π modulo 4: the nearest integer and what remains.
    rounded = builder.add(product, _i128(1 << 125))
    quadrant = builder.trunc(builder.lshr(rounded, _i128(126)), _I64)
    r = builder.fmul(
        _signed_fraction(builder, builder.shl(product, _i128(2))), _double(math.pi / 2)
    )
    infinite = builder.icmp_unsigned("==", biased, _i64(2047))
    r = builder.select(infinite, _double(math.nan), r)
    result = builder.insert_value(ir.Constant(_RESULT, ir.Undefined), r, 0)
    builder.ret(builder.insert_value(result, quadrant, 1))


def _times_two_over_pi(builder: ir.IRBuilder, significand: ir.Value, start: ir.Value) -> ir.Value:
    """The high 128 of the low 192 bits of significand · (the table from bit `start` on)."""
    words = _window(builder, start)
    wide = builder.zext(significand, _I128)
    high, middle, low = (builder.mul(wide, builder.zext(word, _I128)) for word in words)
    low = builder.lshr(low, _i128(64))
    return builder.add(builder.add(builder.shl(high, _i128(64)), middle), low)


def _window(builder: ir.IRBuilder, start: ir.Value) -> list[ir.Value]:
    """Three words of the table, from bit `start` on."""
    table = _table(builder.module)
    first = builder.lshr(start, _i64(6))
    shift = builder.and_(start, _i64(63))
    words = []
    for i in range(4):
        place = builder.gep(table, [_i64(0), builder.add(first, _i64(i))], inbounds=True)
        words.append(builder.zext(builder.load(place), _I128))
    amount = builder.zext(builder.sub(_i64(64), shift), _I128)
    joined = (
        builder.or_(builder.shl(left, _i128(64)), right)
        for left, right in itertools.pairwise(words)
    )
    return [builder.trunc(builder.lshr(pair, amount), _I64) for pair in joined]


def _table(module: ir.Module) -> ir.GlobalVariable:
    if _TABLE in module.globals:
        return module.globals[_TABLE]
    kind = ir.ArrayType(_I64, len(_TWO_OVER_PI))
    table = ir.GlobalVariable(module, kind, _TABLE)
    table.linkage = "internal"
    table.global_constant = True
    table.initializer = ir.Constant(kind, [_i64(word) for word in _TWO_OVER_PI])
    return table


def _signed_fraction(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """The signed i128 `number` / 2^128, from its leading 63 bits, as a double."""
    negative = builder.icmp_signed("<", number, _i128(0))
    size = builder.select(negative, builder.neg(number), number)
    zeros = builder.ctlz(size, ir.Constant(ir.IntType(1), 0))
    leading = builder.trunc(builder.lshr(builder.shl(size, zeros), _i128(65)), _I64)
    exponent = builder.shl(builder.sub(_i64(1023 - 63), builder.trunc(zeros, _I64)), _i64(52))
    scale = builder.bitcast(exponent, ir.DoubleType())
    fraction = builder.fmul(builder.sitofp(leading, ir.DoubleType()), scale)
    return builder.select(negative, builder.fneg(fraction), fraction)


def _i64(number: int) -> ir.Constant:
    return ir.Constant(_I64, number)


def _i128(number: int) -> ir.Constant:
    return ir.Constant(_I128, number)


def _double(number: float) -> ir.Constant:
    return ir.Constant(ir.DoubleType(), number)
