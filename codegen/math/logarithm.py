"""log, log2 and log1p, from x = 2^e (1 + f) with 1 + f in [√½, √2).

In: a `Real`. Out: a `Real`.

    log(x)   →   e ln 2 + f - f²/2 + f³ LOG(f)

The split and the order of summation are those of W. J. Cody and W. Waite, *Software Manual for the
Elementary Functions* (1980), ch. 5. For log1p the rounding error of 1 + x is carried into f (W.
Kahan's correction, see J.-M. Muller, *Elementary Functions* (3rd ed., 2016), §11.4.2).
"""

from __future__ import annotations

import math
import struct

from stepwell.codegen.math.coefficients import LOG
from stepwell.codegen.math.double_word import two_product
from stepwell.codegen.math.exponential import LN2_HIGH, LN2_LOW
from stepwell.codegen.math.formats import F32, F64
from stepwell.codegen.math.lanes import Bits, Real, polynomial

_LOG2_E = {  # as a sum of two
    F32: (float.fromhex("0x1.715476p+0"), float.fromhex("0x1.4ae0cp-26")),
    F64: (float.fromhex("0x1.71547652b82fep+0"), float.fromhex("0x1.777d0ffda0d24p-56")),
}


def log(x: Real) -> Real:
    """Natural logarithm: -infinity at ±0, NaN below."""
    e, f = split(x)
    low = e.times_plus(LN2_LOW[x.lanes.format], f)
    return _with_special_values(
        x, e.times_plus(LN2_HIGH[x.lanes.format], (f * f).times_plus(_half_tail(f), low))
    )


def log2(x: Real) -> Real:
    """Binary logarithm, exact at powers of two: the product with log2 e is kept in two parts."""
    e, f = split(x)
    high, low = _LOG2_E[x.lanes.format]
    product, lost = two_product(f, x.lanes.real(high))
    tail = (f * _half_tail(f)).times_plus(high, low)
    return _with_special_values(x, e + (product + f.times_plus(tail, lost)))


def log1p(x: Real) -> Real:
    """log(1 + x), with all digits near 0."""
    format = x.lanes.format
    sum = x + 1.0
    lost = x - (sum - 1.0)
    e, e_in_place, m = _decompose(sum)
    four_times_two_to_minus_e = (
        x.lanes.bits((format.bias + 2) << format.fraction) - e_in_place
    ).as_real()
    f = (lost * 0.25).times_plus(four_times_two_to_minus_e, m - 1.0)
    low = e.times_plus(LN2_LOW[format], f)
    result = e.times_plus(LN2_HIGH[format], (f * f).times_plus(_half_tail(f), low))
    tiny = abs(x) < 2.0 ** -(format.fraction + 3)
    return tiny.select(x, _with_special_values(sum, result))


def split(x: Real) -> tuple[Real, Real]:
    """(e, f) with x = 2^e (1 + f), for finite x > 0, subnormal or not."""
    format = x.lanes.format
    subnormal = x < format.least_normal
    shift = format.fraction + 1
    e, f = split_normal(subnormal.select(x * 2.0**shift, x))
    return e + subnormal.select(-float(shift), 0.0), f


def split_normal(x: Real) -> tuple[Real, Real]:
    """(e, f) with x = 2^e (1 + f), for normal x > 0."""
    e, _, m = _decompose(x)
    return e, m - 1.0


def _decompose(x: Real) -> tuple[Real, Bits, Real]:
    """e, e in the exponent's place, and m, with x = 2^e m and m in [√½, √2), for normal x."""
    format = x.lanes.format
    root = struct.pack("<f" if format is F32 else "<d", math.sqrt(0.5))
    distance = x.as_bits() - int.from_bytes(root, "little")
    e_in_place = distance & -(1 << format.fraction)
    return _high_bits_as_real(distance), e_in_place, (x.as_bits() - e_in_place).as_real()


def _high_bits_as_real(number: Bits) -> Real:
    """The floor of number / 2^fraction.

    Few machines convert vectors of i64, or shift them arithmetically; moving the number above 0 and
    adding it to the bits of 1.5 · 2^fraction needs neither.
    """
    lanes, format = number.lanes, number.lanes.format
    if format is F32:
        return number.arithmetic_right(format.fraction).signed_to_real()
    raised = (number + (1 << (format.width - 2))).logical_right(format.fraction)
    offset = float(1 << (format.width - 2 - format.fraction))
    return (lanes.real(format.rounder).as_bits() + raised).as_real() - (format.rounder + offset)


def _half_tail(f: Real) -> Real:
    """(log(1 + f) - f) / f² = f LOG(f) - 1/2."""
    return polynomial(f, LOG[f.lanes.format]).times_plus(f, -0.5)


def _with_special_values(x: Real, result: Real) -> Real:
    """`result` where 0 < x < infinity, else what a logarithm is there."""
    outside = x.equals(0.0).select(-math.inf, x.equals(math.inf).select(math.inf, math.nan))
    return ((x > 0.0) & (x < math.inf)).select(result, outside)
