"""Numbers as unevaluated sums of two, for the twice as many digits that a power needs.

In: `Real`s. Out: pairs (high, low) of `Real`s with |low| ≤ ulp(high) / 2, or about.

    two_product(a, b)   →   (a · b rounded, what the rounding lost)

Sources: T. J. Dekker, *A floating-point technique for extending the available precision*, Numer.
Math. 18 (1971), for the sum of ordered terms, the split and the product; M. Joldes, J.-M. Muller,
V. Popescu, *Tight and rigorous error bounds for basic building blocks of double-word arithmetic*,
ACM TOMS 44 (2017), for the sums of products.
"""

from __future__ import annotations

from stepwell.codegen.math.lanes import Real

Pair = tuple[Real, Real]


def fast_two_sum(a: Real, b: Real) -> Pair:
    """a + b exactly, for |a| ≥ |b| or a = 0."""
    high = a + b
    return high, b - (high - a)


def two_product(a: Real, b: Real) -> Pair:
    """a · b exactly, barring overflow and underflow."""
    high = a * b
    if a.lanes.target.fma:
        return high, a.times_plus(b, -high)
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return high, a2 * b2 - (((high - a1 * b1) - a2 * b1) - a1 * b2)


def _halves(a: Real) -> Pair:
    """a as a sum of two numbers of half its digits, whose products are exact."""
    scaled = a * (2.0 ** ((a.lanes.format.fraction + 2) // 2) + 1.0)
    high = scaled - (scaled - a)
    return high, a - high


def product(a: Pair, b: Pair) -> Pair:
    """a · b to about twice the digits of the format; the sum is not renormalised."""
    high, low = two_product(a[0], b[0])
    return high, low + (a[0] * b[1] + a[1] * b[0])
