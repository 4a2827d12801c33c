"""exp, exp2, expm1, sigmoid and tanh, all from one reduction: x = n ln 2 + r with |r| ≤ ln 2 / 2.

In: a `Real`. Out: a `Real`.

    exp(x)   →   2^n · (1 + r + r² EXP(r))

The reduction is that of W. J. Cody and W. Waite, *Software Manual for the Elementary Functions*
(1980), ch. 6: ln 2 in two parts, the first short enough for n · high to be exact. n is rounded by
adding 1.5 · 2^fraction, which leaves it in the low bits of the sum, where the scaling by 2^n finds
it.
"""

from __future__ import annotations

import math

from stepwell.codegen.math.coefficients import EXP, TANH
from stepwell.codegen.math.formats import F32, F64
from stepwell.codegen.math.lanes import Bits, Real, polynomial

LN2_HIGH = {F32: float.fromhex("0x1.62E4p-1"), F64: float.fromhex("0x1.62E42FFp-1")}
LN2_LOW = {
    F32: float.fromhex("0x1.7F7D1CF79ABCAp-20"),
    F64: -float.fromhex("0x1.718432A1B0E26p-35"),
}

_EXP_RANGE = {F32: (-104.0, 89.0), F64: (-746.0, 710.0)}
_EXP2_RANGE = {F32: (-151.0, 129.0), F64: (-1076.0, 1025.0)}
_EXPM1_IS_MINUS_1 = {F32: -18.0, F64: -38.0}
_TANH_SPLIT = 0.625
_SIGMOID_RANGE = {F32: (-18.0, 104.0), F64: (-38.0, 746.0)}  # of -x: 1 below, 0 above
_TWICE_TANH_IS_1 = {F32: 18.1, F64: 39.0}


def exp(x: Real) -> Real:
    """e^x: 0 and infinity at the ends, subnormal results rounded once."""
    low, high = _EXP_RANGE[x.lanes.format]
    return _exp_in_range(x.at_most(high).at_least(low))


def exp2(x: Real) -> Real:
    """2^x, exact at integers."""
    low, high = _EXP2_RANGE[x.lanes.format]
    x = x.at_most(high).at_least(low)
    n, exponent = nearest_integer(x, 2 * x.lanes.format.bias)
    r = (x - n) * math.log(2)
    return scaled_by_power_of_two(_exp_near_zero(r), n, exponent)


def expm1(x: Real) -> Real:
    """e^x - 1 = 2 (2^(n-1) (e^r - 1) + 2^(n-1) - 1/2).

    No digits are lost near 0, and n = bias + 1 does not overflow.
    """
    format = x.lanes.format
    clamped = x.at_most(_EXP_RANGE[format][1]).at_least(_EXPM1_IS_MINUS_1[format])
    r, _, exponent = _reduce(clamped, format.bias - 1)
    half_scale = (exponent << format.fraction).as_real()
    result = 2.0 * _expm1_near_zero(r).times_plus(half_scale, half_scale - 0.5)
    tiny = abs(x) < 2.0 ** -(format.fraction + 3)
    return tiny.select(x, result)


def sigmoid(x: Real) -> Real:
    """1 / (1 + e^-x) = h / (h + h 2^n + h 2^n (e^r - 1)) with h about 2^(-n/2).

    h keeps the divisor finite where the result is subnormal; e^-x itself is never rounded. h + h
    2^n is exact, or wrong by little, but for n = fraction + 1, where it loses 1 of 2^n + 1: there
    the numerator is made one unit smaller.
    """
    format = x.lanes.format
    low, high = _SIGMOID_RANGE[format]
    r, _, exponent = _reduce((-x).at_most(high).at_least(low), 2 * format.bias)
    half = exponent.logical_right(1)
    h = (x.lanes.bits(2 * format.bias) - half) << format.fraction
    scaled = ((exponent - half) << format.fraction).as_real()
    divisor = _expm1_near_zero(r).times_plus(scaled, h.as_real() + scaled)
    loses_one = format.rounder + 2 * format.bias + format.fraction + 1
    return (
        h + exponent.equals(x.lanes.real(loses_one).as_bits()).as_minus_one()
    ).as_real() / divisor


def tanh(x: Real) -> Real:
    """1 - 2 / (e^(2|x|) + 1), and x + x³ TANH(x²) where that would lose digits."""
    format = x.lanes.format
    magnitude = abs(x)
    r, _, exponent = _reduce((magnitude + magnitude).at_most(_TWICE_TANH_IS_1[format]), format.bias)
    scale = (exponent << format.fraction).as_real()
    far = 1.0 - 2.0 / _expm1_near_zero(r).times_plus(scale, scale + 1.0)
    square = x * x
    near = (square * magnitude).times_plus(polynomial(square, TANH[format]), magnitude)
    return (magnitude < _TANH_SPLIT).select(near, far).with_sign_of(x)


def nearest_integer(x: Real, offset: int, factor: float = 1.0) -> tuple[Real, Bits]:
    """n = x · factor rounded to an integer, and bits whose low end is n + offset.

    |x · factor| + offset must be less than 2^(fraction - 1).
    """
    rounder = x.lanes.format.rounder + offset
    shifted = x + rounder if factor == 1.0 else x.times_plus(factor, rounder)
    return shifted - rounder, shifted.as_bits()


def scaled_by_power_of_two(x: Real, n: Real, exponent: Bits) -> Real:
    """x · 2^n for any n that the format can show, subnormals too.

    The low bits of `exponent` are n + 2 bias. Where no instruction does it, 2^n is the product of
    two normal numbers of about half its exponent; only the last product rounds.
    """
    scaled = x.scaled(n)
    if scaled is not None:
        return scaled
    fraction = x.lanes.format.fraction
    half = exponent.logical_right(1)
    other_half = exponent - half
    return x * (half << fraction).as_real() * (other_half << fraction).as_real()


def _exp_in_range(x: Real) -> Real:
    r, n, exponent = _reduce(x, 2 * x.lanes.format.bias)
    return scaled_by_power_of_two(_exp_near_zero(r), n, exponent)


def _reduce(x: Real, offset: int) -> tuple[Real, Real, Bits]:
    """r = x - n ln 2, n, and bits whose low end is n + offset."""
    n, exponent = nearest_integer(x, offset, factor=1 / math.log(2))
    r = n.times_plus(-LN2_HIGH[x.lanes.format], x)
    return n.times_plus(-LN2_LOW[x.lanes.format], r), n, exponent


def _exp_near_zero(r: Real) -> Real:
    """e^r = 1 + r + r² EXP(r)."""
    return polynomial(r, (1.0, 1.0, *EXP[r.lanes.format]))


def _expm1_near_zero(r: Real) -> Real:
    """e^r - 1 = r + r² EXP(r)."""
    return (r * r).times_plus(polynomial(r, EXP[r.lanes.format]), r)
