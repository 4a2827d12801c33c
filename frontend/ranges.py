"""Where a subscript can go: affine bounds of dims over loop indices, with guards.

    i + di  with i in 0..H-3, di in 0..2      →  0 .. H - 1
    t - 2*k with guard t - 2*k >= 0           →  at least 0, by the guard

A fact is a dim known to be >= 0. To prove `d >= 0`, bound `d` from below over the box of indices;
if that is not enough, subtract facts (guards) first, one or two at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

from stepwell.ir import size
from stepwell.ir.scalar import Binary, Const, Expr, as_dim
from stepwell.ir.size import Atom, Dim, Monomial, Size

Bounds = tuple[Dim | None, Dim | None]
Combine = Callable[[Dim, Dim], Dim]
Box = Mapping[str, Dim]  # index → its extent; it runs over 0 .. extent - 1


def lowest(dim: Dim, box: Box) -> Dim | None:
    """A dim over size symbols alone that is never above `dim`; None where none is found."""
    return _bound(dim, box, low=True)


def highest(dim: Dim, box: Box) -> Dim | None:
    """A dim over size symbols alone that is never below `dim`; None where none is found."""
    return _bound(dim, box, low=False)


def _bound(dim: Dim, box: Box, low: bool) -> Dim | None:
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        bound = _monomial(monomial, box, low == (coefficient > 0))
        if bound is None:
            return None
        total = total + bound * coefficient
    return total


def _monomial(monomial: Monomial, box: Box, low: bool) -> Dim | None:
    """The bound of a product; each factor's range must be nonnegative where there are several."""
    result: Dim = 1
    for atom in monomial:
        down, up = _atom(atom, box)
        if len(monomial) > 1 and (down is None or not size.provably_le(0, down)):
            return None
        bound = down if low else up
        if bound is None:
            return None
        result = result * bound
    return result


def _atom(atom: Atom, box: Box) -> Bounds:
    if atom.function == "symbol":
        extent = box.get(atom.name)
        whole = size.symbol(atom.name)
        return (whole, whole) if extent is None else (0, extent - 1)
    free = size.symbols(atom.left) | size.symbols(atom.right)
    if not free & set(box):
        itself = Size((((atom,), 1),))
        return itself, itself
    left = lowest(atom.left, box), highest(atom.left, box)
    right = lowest(atom.right, box), highest(atom.right, box)
    match atom.function:
        case "mod" if isinstance(atom.right, int) and atom.right > 0:
            return 0, atom.right - 1
        case "mod" if not size.symbols(atom.right) & set(box) and size.provably_le(0, atom.right):
            return 0, atom.right - 1  # an axis of size 0 has no subscripts to check
        case "floordiv" if isinstance(atom.right, int) and atom.right > 0:
            divisor = atom.right
            return _each(left, lambda d: size.floordiv(d, divisor))
        case "min":
            return _both(left[0], right[0], size.minimum), _any(left[1], right[1], size.minimum)
        case "max":
            return _any(left[0], right[0], size.maximum), _both(left[1], right[1], size.maximum)
    return None, None


def _each(pair: Bounds, f: Callable[[Dim], Dim]) -> Bounds:
    low, high = (None if d is None else f(d) for d in pair)
    return low, high


def _both(a: Dim | None, b: Dim | None, f: Combine) -> Dim | None:
    return None if a is None or b is None else f(a, b)


def _any(a: Dim | None, b: Dim | None, f: Combine) -> Dim | None:
    return b if a is None else a if b is None else f(a, b)


def provably_nonnegative(dim: Dim, box: Box, facts: Sequence[Dim]) -> bool:
    """Whether `dim >= 0` for all indices of the box for which the facts hold."""
    known = [*facts, *_ends(dim, box), *_quotients(dim)]
    for reduced in _less_facts(dim, known):
        low = lowest(reduced, box)
        if low is not None and size.provably_le(0, low):
            return True
    cases = _cases(dim)
    return bool(cases) and all(provably_nonnegative(case, box, facts) for case in cases)


def _ends(dim: Dim, box: Box) -> list[Dim]:
    """An index is below its extent, so the extent is at least 1 where there is an index."""
    return [box[n] - 1 - size.symbol(n) for n in sorted(size.symbols(dim)) if n in box]


def _quotients(dim: Dim) -> list[Dim]:
    """c * (x // c) <= x."""
    atoms = [] if isinstance(dim, int) else [a for m, _ in dim.terms for a in m]
    return [
        atom.left - atom.right * Size((((atom,), 1),))
        for atom in atoms
        if atom.function == "floordiv" and isinstance(atom.right, int) and atom.right > 0
    ]


def _cases(dim: Dim) -> list[Dim]:
    """`dim` with its first max(a, b) or min(a, b) as a, and as b; nothing where there is none."""
    for monomial, coefficient in () if isinstance(dim, int) else dim.terms:
        if len(monomial) == 1 and monomial[0].function in ("max", "min"):
            rest = dim - coefficient * Size(((monomial, 1),))
            return [rest + coefficient * side for side in (monomial[0].left, monomial[0].right)]
    return []


def _less_facts(dim: Dim, facts: Sequence[Dim]) -> Iterator[Dim]:
    yield dim
    for fact in facts:
        yield dim - fact
    for one, two in combinations(facts[:12], 2):
        yield dim - one - two


def facts_of(guard: Expr) -> list[Dim]:
    """Dims that are >= 0 wherever a condition holds; what is not affine says nothing."""
    match guard:
        case Binary(op="and", x=x, y=y):
            return facts_of(x) + facts_of(y)
        case Binary(op=op, x=x, y=y):
            left, right = as_dim(x), as_dim(y)
            if left is None or right is None:
                return []
            return {
                "le": [right - left],
                "lt": [right - left - 1],
                "ge": [left - right],
                "gt": [left - right - 1],
                "eq": [left - right, right - left],
            }.get(op, [])
        case Const():
            return []
    return []
