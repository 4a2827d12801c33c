"""pow: 2^(y log2 |x|), with log2 |x| to more digits than the result, then sign and special cases.

In: two `Real`s. Out: a `Real`.

    pow(-2.0, 3.0)   →   -(2^(3 · 1))

The error of y log2 |x| is absolute in the exponent, so an f32 result needs some 34 good bits of the
logarithm: it is computed in f64. An f64 result needs some 64: the logarithm is a double word, from
the series of artanh (J.-M. Muller, *Elementary Functions* (3rd ed., 2016), §4.4 for the split, §5.4
for the double words). The special cases are those of IEEE 754-2019 §9.2.1, as in NumPy.
"""

from __future__ import annotations

import math

from stepwell.codegen.math.coefficients import ATANH_TAIL, EXP, EXP2_SHORT, LOG2_SHORT
from stepwell.codegen.math.double_word import Pair, fast_two_sum, product, two_product
from stepwell.codegen.math.exponential import nearest_integer, scaled_by_power_of_two
from stepwell.codegen.math.formats import F32, F64
from stepwell.codegen.math.lanes import Mask, Real, polynomial
from stepwell.codegen.math.logarithm import split, split_normal

_LOG2_E = (float.fromhex("0x1.71547652B82FEp0"), float.fromhex("0x1.777D0FFDA0D24p-56"))
_TWO_THIRDS = (float.fromhex("0x1.5555555555555p-1"), float.fromhex("0x1.5555555555555p-55"))


def power(x: Real, y: Real) -> Real:
    """x^y, as NumPy's `power` on floats."""
    size = abs(x)
    magnitude = _power_f32(size, y) if x.lanes.format is F32 else _power_f64(size, y)
    grows = ((size > 1.0) & (y > 0.0)) | ((size < 1.0) & (y < 0.0))
    extreme = size.equals(0.0) | size.equals(math.inf) | abs(y).equals(math.inf)
    limit = size.equals(1.0).select(1.0, grows.select(math.inf, 0.0))
    magnitude = extreme.select(limit, magnitude)

    y_is_integer = _is_integer(y)
    y_is_odd = y_is_integer & ~_is_integer(y * 0.5)
    result = y_is_odd.select(magnitude.with_sign_of(x), magnitude)
    result = ((x < 0.0) & (x > -math.inf) & ~y_is_integer).select(math.nan, result)
    result = (x.equals(x) & y.equals(y)).select(result, x + y)
    return (x.equals(1.0) | y.equals(0.0)).select(1.0, result)


def _is_integer(y: Real) -> Mask:
    """Whether y is an integer (infinity is): adding 2^fraction rounds it to one."""
    large = 2.0**y.lanes.format.fraction
    size = abs(y)
    return (size >= large) | ((size + large) - large).equals(size)


def _power_f32(x: Real, y: Real) -> Real:
    """x^y for finite x > 0, in f64 throughout."""
    e, f = split_normal(x.widened())
    z = f.times_plus(polynomial(f, LOG2_SHORT[F64]), e) * y.widened()
    z = z.at_most(200.0).at_least(-200.0)
    n, exponent = nearest_integer(z, F64.bias)
    r = z - n
    result = r.times_plus(polynomial(r, EXP2_SHORT[F64]), 1.0)
    return (result * (exponent << F64.fraction).as_real()).narrowed()


def _power_f64(x: Real, y: Real) -> Real:
    """x^y for finite x > 0, with the exponent as a double word."""
    y = y.at_most(2.0**80).at_least(-(2.0**80))
    e, f = split(x)
    high, low = product(_log_of_significand(f), _double_word(x, _LOG2_E))
    high, rest = fast_two_sum(e, high)
    high, low = product((high, rest + low), (y, x.lanes.real(0.0)))

    clamped = high.at_most(1030.0).at_least(-1080.0)
    low = clamped.equals(high).select(low, 0.0)
    n, exponent = nearest_integer(clamped, 2 * F64.bias)
    r = ((clamped - n) + low) * math.log(2)
    result = 1.0 + (r * r).times_plus(polynomial(r, EXP[F64]), r)
    return scaled_by_power_of_two(result, n, exponent)


def _log_of_significand(f: Real) -> Pair:
    """log(1 + f) = 2s + 2s³/3 + s⁵ ATANH_TAIL(s²) with s = f / (2 + f), to some 66 bits."""
    divisor, divisor_low = fast_two_sum(f.lanes.real(2.0), f)
    s = f / divisor
    back, back_low = two_product(s, divisor)
    s_low = (((f - back) - back_low) - s * divisor_low) / divisor

    square = product((s, s_low), (s, s_low))
    cube = product(square, (s, s_low))
    tail = cube[0] * square[0] * polynomial(square[0], ATANH_TAIL[F64])
    third = product(cube, _double_word(f, _TWO_THIRDS))
    high, low = fast_two_sum(s + s, third[0])
    return fast_two_sum(high, low + (s_low + s_low + third[1] + tail))


def _double_word(like: Real, number: tuple[float, float]) -> Pair:
    return like.lanes.real(number[0]), like.lanes.real(number[1])
