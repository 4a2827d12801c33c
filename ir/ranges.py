"""Index arithmetic under known ranges.

In: a dim over loop indices, and each index's extent. Out: the same number, simpler:

    (12*h + d) // 12   with d in 0..12   →   h
    (16*v + l) % 64    with l in 0..16   →   16*(v % 4) + l
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd

from stepwell.ir.scalar import (
    Const,
    Expr,
    Var,
    as_dim,
    coefficient,
    divides_by,
    from_dim,
    variables,
)
from stepwell.ir.size import (
    Dim,
    Monomial,
    Size,
    apply,
    floordiv,
    mod,
    provably_le,
    substitute,
    symbol,
    symbols,
)

# Index name → extent: the index is at least 0 and below it. A `let` that holds data → None: of its
# sign nothing is known, while every other name (a size) is at least 0.
Ranges = Mapping[str, Dim | None]


def upper_bound(dim: Dim, ranges: Ranges) -> Dim | None:
    """The largest value over the ranges; None where the sign of a coefficient is not known."""
    for name in sorted(symbols(dim) & set(ranges)):
        factor, extent = coefficient(dim, name), ranges[name]
        if factor is None or extent is None:
            return None
        if provably_le(0, factor):
            dim = substitute(dim, {name: extent - 1})
        elif provably_le(factor, 0):
            dim = substitute(dim, {name: 0})
        else:
            return None
    return dim


def lower_bound(dim: Dim, ranges: Ranges) -> Dim | None:
    """The smallest value over the ranges; None where it is not known."""
    bound = upper_bound(-dim, ranges)
    return None if bound is None else -bound


def within(dim: Dim, extent: Dim, ranges: Ranges) -> bool:
    """Whether 0 <= dim < extent is provable (for ranges that are not empty)."""
    low, high = lower_bound(dim, ranges), upper_bound(dim, ranges)
    return (
        low is not None
        and high is not None
        and provably_le(0, low)
        and provably_le(high + 1, extent)
    )


def simplify_dim(dim: Dim, ranges: Ranges) -> Dim:
    """Quotients and remainders resolved where the ranges decide them."""
    if isinstance(dim, int) or dim.is_polynomial:
        return dim
    result: Dim = 0
    for monomial, factor in dim.terms:
        term: Dim = factor
        for atom in monomial:
            term = term * (
                symbol(atom.name)
                if atom.function == "symbol"
                else _simplify_function(atom.function, atom.left, atom.right, ranges)
            )
        result = result + term
    return result


def _simplify_function(function: str, left: Dim, right: Dim, ranges: Ranges) -> Dim:
    left, right = simplify_dim(left, ranges), simplify_dim(right, ranges)
    if function in ("floordiv", "mod"):
        whole, rest = _split(left, right)
        if within(rest, right, ranges):
            return whole if function == "floordiv" else rest
        step, high, low = _aligned(rest, right, ranges)
        if step > 1 and isinstance(right, int):
            if function == "floordiv":
                return whole + floordiv(high, right // step)
            return mod(high, right // step) * step + low
        return floordiv(left, right) if function == "floordiv" else mod(left, right)
    return apply(function, left, right)


def _aligned(dim: Dim, right: Dim, ranges: Ranges) -> tuple[int, Dim, Dim]:
    """(g, h, s) with dim == g*h + s, s in 0..g, for the largest such divisor g of `right`.

    Then dim // right == h // (right // g): a run of g that begins at a multiple of g stays whole.
    """
    if isinstance(dim, int) or not isinstance(right, int):
        return 1, dim, 0
    for step in sorted({gcd(c, right) for _, c in dim.terms}, reverse=True):
        high = _size([(m, c // step) for m, c in dim.terms if c % step == 0])
        low = dim - high * step
        if step > 1 and within(low, step, ranges):
            return step, high, low
    return 1, dim, 0


def _split(left: Dim, right: Dim) -> tuple[Dim, Dim]:
    """(q, s) with left == q*right + s."""
    quotient = floordiv(left, right)
    if isinstance(quotient, int):
        return quotient, left - quotient * right
    plain = [(m, c) for m, c in quotient.terms if not any(a.function == "floordiv" for a in m)]
    whole = _size(plain)
    return whole, left - whole * right


def _size(terms: Sequence[tuple[Monomial, int]]) -> Dim:
    """The dim of these terms."""
    if all(not monomial for monomial, _ in terms):
        return sum(factor for _, factor in terms)
    return Size(tuple(terms))


def simplify(expr: Expr, ranges: Ranges) -> Expr:
    """An index expression simplified where it depends on indices and sizes only."""
    if isinstance(expr, (Const, Var)):
        return expr
    dim = index_dim(expr, ranges)
    if dim is None:
        return expr
    simpler = from_dim(simplify_dim(dim, ranges))
    return expr if simpler is expr or simpler == expr else simpler


def index_dim(expr: Expr, ranges: Ranges) -> Dim | None:
    """`as_dim`, but None where the expression depends on data (a dim's names are at least 0), or
    divides by an index (which can be 0)."""
    dim = as_dim(expr)
    if dim is None or divides_by(expr, ranges):
        return None
    return None if any(ranges.get(name, 0) is None for name in variables(expr)) else dim
