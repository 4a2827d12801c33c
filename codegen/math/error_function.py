"""erf, without division and without exp.

In: a `Real`. Out: a `Real`.

    erf(x)   →   x + x ERF_NEAR(x²)              where |x| < 1.17
                 ±(1 - ERF_FAR(|x|)^8)           elsewhere, |x| cut off where erf rounds to 1

Both are computed, one is taken. The eighth root of erfc is far smoother than erfc itself (the idea
of C. Hastings, *Approximations for Digital Computers* (1955), sheet 45; Abramowitz and Stegun
7.1.28 has the sixteenth): three squarings stand for some eight degrees of the polynomial. The
coefficients are ours (`fit.py`).
"""

from __future__ import annotations

from stepwell.codegen.math.coefficients import ERF_FAR, ERF_NEAR
from stepwell.codegen.math.formats import F32, F64
from stepwell.codegen.math.lanes import Real, polynomial

_SPLIT = 1.17
_ERF_IS_1 = {F32: 3.93, F64: 5.95}


def erf(x: Real) -> Real:
    """2/√π ∫₀ˣ exp(-t²) dt."""
    format = x.lanes.format
    near = x.times_plus(polynomial(x * x, ERF_NEAR[format]), x)
    magnitude = abs(x)
    root = polynomial(magnitude.at_most(_ERF_IS_1[format]), ERF_FAR[format])
    fourth = (root * root) * (root * root)
    far = (-fourth).times_plus(fourth, 1.0).with_sign_of(x)
    return (magnitude < _SPLIT).select(near, far)
