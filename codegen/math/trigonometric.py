"""sin and cos over the whole range: |x| = n π/2 + r with |r| ≤ π/4, then a polynomial in r.

In: a `Real`. Out: a `Real`. The emitter may have moved to a new basic block.

    sin(x)   →   r + r³ SIN(r²)  or  1 - r²/2 + r⁴ COS(r²), by the parity of n; sign by n and x

Up to a bound that depends on the format and on FMA, r is |x| minus n times π/2 in three or four
parts (Cody and Waite, *Software Manual for the Elementary Functions* (1980), ch. 8). Where some
lane is above it, a branch that is rarely taken reduces each lane exactly (`payne_hanek.py`).
"""

from __future__ import annotations

import math

from llvmlite import ir

from stepwell.codegen.math.coefficients import COS, SIN
from stepwell.codegen.math.exponential import nearest_integer
from stepwell.codegen.math.formats import F32, F64, Format
from stepwell.codegen.math.lanes import Bits, Mask, Real, polynomial
from stepwell.codegen.math.payne_hanek import reduce_lanes

# π/2 as a sum. With FMA n · part is exact; without, the parts are short enough for that.
_HALF_PI: dict[tuple[Format, bool], tuple[str, ...]] = {
    (F32, True): ("0x1.921fb6p+0", "-0x1.777a5cp-25", "-0x1.ee59dap-50"),
    (F32, False): ("0x1.922p+0", "-0x1.2afp-18", "0x1.0b48p-34", "-0x1.ee59dap-50"),
    (F64, True): ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110"),
    (F64, False): (
        "0x1.921fb544p+0",
        "0x1.0b4611a8p-34",
        "-0x1.d9cceba4p-66",
        "0x1.b839a252049c1p-104",
    ),
}
_LARGE = {(F32, True): 2.0**17, (F32, False): 2.0**9, (F64, True): 2.0**27, (F64, False): 2.0**22}


def sin(x: Real) -> Real:
    """Sine; NaN at infinities."""
    r, quadrant = _reduce(abs(x))
    sign = x.as_bits() ^ _sign_of_quadrant(quadrant)
    return _with_sign(_sin_or_cos(r, quadrant), sign)


def cos(x: Real) -> Real:
    """Cosine, the sine of a quadrant later; NaN at infinities."""
    r, quadrant = _reduce(abs(x))
    quadrant = quadrant + 1
    return _with_sign(_sin_or_cos(r, quadrant), _sign_of_quadrant(quadrant))


def _sin_or_cos(r: Real, quadrant: Bits) -> Real:
    """sin(r) for an even quadrant, cos(r) for an odd one."""
    format = r.lanes.format
    z = r * r
    sine = (z * r).times_plus(polynomial(z, SIN[format]), r)
    cosine = polynomial(z, (1.0, -0.5, *COS[format]))
    return (quadrant & 1).equals(0).select(sine, cosine)


def _sign_of_quadrant(quadrant: Bits) -> Bits:
    """The sign bit is bit 1 of the quadrant; the other bits are noise."""
    return quadrant << (quadrant.lanes.format.width - 2)


def _with_sign(x: Real, sign: Bits) -> Real:
    """x, negated where the top bit of `sign` is set."""
    return (x.as_bits() ^ (sign & (1 << (x.lanes.format.width - 1)))).as_real()


def _reduce(x: Real) -> tuple[Real, Bits]:
    """r and a number that is n modulo 4, for x ≥ 0."""
    r, quadrant = _reduce_by_parts(x)
    lanes = x.lanes
    large = x >= _LARGE[lanes.format, lanes.target.fma]
    return _where_large(large, x, r, quadrant)


def _reduce_by_parts(x: Real) -> tuple[Real, Bits]:
    n, quadrant = nearest_integer(x, 0, factor=2 / math.pi)
    parts = [float.fromhex(part) for part in _HALF_PI[x.lanes.format, x.lanes.target.fma]]
    r = n.times_plus(-parts[0], x)
    if x.lanes.target.fma:
        return n.times_plus(-parts[2], n.times_plus(-parts[1], r)), quadrant
    # n · parts[1] is exact too, but the difference is not: what it loses joins the small parts.
    second = n * parts[1]
    difference = r - second
    lost = (r - difference) - second
    return difference + (lost - (n * parts[2] + n * parts[3])), quadrant


def _where_large(large: Mask, x: Real, r: Real, quadrant: Bits) -> tuple[Real, Bits]:
    """r and quadrant, the `large` lanes reduced anew, in a branch taken if there are any."""
    builder = x.lanes.builder
    before = builder.block
    with builder.if_then(large.any(), likely=False):
        exact_r, exact_quadrant = reduce_lanes(large.select(x, 1.0))
        slow_r = builder.select(large.value, exact_r.value, r.value)
        slow_quadrant = builder.select(large.value, exact_quadrant.value, quadrant.value)
        inside = builder.block
    merged = []
    for fast, slow in ((r.value, slow_r), (quadrant.value, slow_quadrant)):
        phi: ir.PhiInstr = builder.phi(fast.type)
        phi.add_incoming(fast, before)
        phi.add_incoming(slow, inside)
        merged.append(phi)
    return Real(x.lanes, merged[0]), Bits(x.lanes, merged[1])
