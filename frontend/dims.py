"""When two sizes agree, and what must hold of the sizes on entry.

Equal in normal form: they agree. Different by a constant, or by plain symbols (`N` and `M`): they
do not, and the program is refused. Where a size holds `//`, `%`, `max` or `min` the difference
cannot be decided here: the program is accepted, and the equality is checked on entry.
"""

from __future__ import annotations

from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.values import Tensor
from stepwell.ir import size
from stepwell.ir.size import Atom, Dim, Size
from stepwell.ir.span import Span


def agree(e: Elaboration, left: Dim, right: Dim, span: Span) -> bool:
    """Whether two sizes are the same; adds a rule checked on entry where only that can tell."""
    if left == right:
        return True
    left, right = with_facts(e, left), with_facts(e, right)
    difference = left - right
    if isinstance(difference, int):
        return difference == 0
    if not _has_opaque(difference):
        return False
    if size.provably_le(difference + 1, 0) or size.provably_le(1, difference):
        return False
    e.constrain(left, "==", right, f"{left} must equal {right}", span)
    return True


def retyped(e: Elaboration, x: Tensor, shape: tuple[Dim, ...], span: Span) -> Tensor:
    """`x` with its sizes written as in `shape`, with which they have been found to agree."""
    if x.shape == shape:
        return x
    result = e.emit("reshape", [x], span=span, spans=[span], shape=shape)
    return Tensor(result.value, x.origin)


def with_facts(e: Elaboration, dim: Dim) -> Dim:
    """`(D // heads) * heads` is `D` where divisibility is checked on entry."""
    for whole, part in e.exact:
        quotient = size.floordiv(whole, part)
        if isinstance(dim, int) or not isinstance(quotient, Size):
            continue
        dim = _fold_quotient(dim, quotient, whole, part)
    return dim


def _fold_quotient(dim: Size, quotient: Size, whole: Dim, part: Dim) -> Dim:
    if len(quotient.terms) != 1 or len(quotient.terms[0][0]) != 1:
        return dim
    atom = quotient.terms[0][0][0]
    result: Dim = 0
    for monomial, coefficient in dim.terms:
        term = Size(((monomial, coefficient),)) if monomial else coefficient
        if atom in monomial:
            rest = list(monomial)
            rest.remove(atom)
            others: Dim = Size(((tuple(rest), coefficient),)) if rest else coefficient
            factor = size.exact_quotient(others, part)
            if factor is not None:
                term = factor * whole
        result = result + term
    return result


def _has_opaque(dim: Dim) -> bool:
    return isinstance(dim, Size) and any(
        _is_opaque(atom) for monomial, _ in dim.terms for atom in monomial
    )


def _is_opaque(atom: Atom) -> bool:
    return atom.function != "symbol"


def nonnegative(dim: Dim) -> bool:
    """Whether `dim >= 0` is provable, quotients by numbers included: `D - D // 2` is."""
    while not size.provably_le(0, dim):
        loosened = None if isinstance(dim, int) else _without_quotient(dim)
        if loosened is None:
            return False
        dim = loosened
    return True


def _without_quotient(dim: Size) -> Dim | None:
    """A dim that is >= 0 only where `dim` is: k*(a // k) lies in a - k + 1 .. a."""
    for monomial, coefficient in dim.terms:
        if len(monomial) != 1 or monomial[0].function != "floordiv":
            continue
        left, divisor = monomial[0].left, monomial[0].right
        if isinstance(divisor, int) and divisor > 0:
            bound = left if coefficient < 0 else left - (divisor - 1)
            rest = dim - Size(((monomial, coefficient),))
            return rest * divisor + bound * coefficient
    return None


def require_nonnegative(e: Elaboration, dim: Dim, span: Span, what: str) -> None:
    """A size that could be negative is refused, or checked on entry."""
    if nonnegative(dim):
        return
    if isinstance(dim, int):
        e.fail("SW0206", f"{what} would have the size {dim}", span, "a size is at least 0")
    if size.provably_le(dim, -1):
        e.fail("SW0206", f"{what} would have the size {dim}, which is negative", span)
    below = -dict(dim.terms).get((), 0) if isinstance(dim, Size) else 0
    message = f"{what} has the size {dim}, which must not be negative"
    e.constrain(max(below, 0), "<=", dim + max(below, 0), message, span)


def hint_same_name(left: Dim, right: Dim) -> str | None:
    """A hint where two different symbols meet."""
    a, b = size.as_symbol(left), size.as_symbol(right)
    if a is None or b is None:
        return None
    return f"if they are always equal, give both the name `{a}` in the signature"
