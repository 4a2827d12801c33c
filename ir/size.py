"""Symbolic sizes: integer arithmetic on names such as `N`, in a normal form.

A `Dim` is an `int` or a `Size`. A `Size` is a polynomial with integer coefficients over *atoms*: a
symbol, or an opaque `floordiv`, `mod`, `max` or `min` of two dims. Normal form makes equality of
meaning (for polynomials) equality of objects, so shapes compare with `==`. A `Size` is never a
constant: constants are plain ints.

    >>> n, h = symbol("N"), symbol("H")
    >>> str((n + 2) * h - h), (n + 1) - n, str(floordiv(2 * n * h, h)), str(floordiv(n, 3))
    ('H*N + H', 1, '2*N', 'N // 3')

Every symbol stands for a size or an index, so it is at least 0: `provably_le` uses that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Union

Dim = Union[int, "Size"]

FUNCTIONS = ("floordiv", "mod", "max", "min")


@dataclass(frozen=True)
class Atom:
    """A symbol (`function` is "symbol", `name` is set) or an opaque function of two dims."""

    function: str
    name: str = ""
    left: Dim = 0
    right: Dim = 0

    def __str__(self) -> str:
        if self.function == "symbol":
            return self.name
        if self.function in ("max", "min"):
            return f"{self.function}({self.left}, {self.right})"
        op = "//" if self.function == "floordiv" else "%"
        return f"{_factor(self.left)} {op} {_factor(self.right)}"

    @cached_property
    def _hash(self) -> int:
        return hash((self.function, self.name, self.left, self.right))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def key(self) -> tuple[int, str]:
        return (0 if self.function == "symbol" else 1, str(self))


Monomial = tuple[Atom, ...]  # sorted by key; an atom to the power 2 stands twice


@dataclass(frozen=True)
class Size:
    """A non-constant polynomial: `terms` maps each monomial to its coefficient, sorted."""

    terms: tuple[tuple[Monomial, int], ...]

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    @cached_property
    def is_polynomial(self) -> bool:
        """Whether it is one in symbols alone."""
        return all(atom.function == "symbol" for monomial, _ in self.terms for atom in monomial)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Dim:
        return _combine(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        return _combine(self, other, -1)

    def __rsub__(self, other: Dim) -> Dim:
        return _combine(other, self, -1)

    def __neg__(self) -> Dim:
        return self * -1

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, int):
            return Size(tuple((m, c * other) for m, c in self.terms)) if other else 0
        product: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right, key=lambda atom: atom.key))
                product[monomial] = product.get(monomial, 0) + a * b
        return _normal(product)

    __rmul__ = __mul__

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            sign = "-" if coefficient < 0 else "+"
            factors = [str(abs(coefficient))] if abs(coefficient) != 1 or not monomial else []
            alone = len(monomial) + len(factors) == 1 and len(self.terms) == 1
            factors += [_atom_factor(atom, alone and coefficient > 0) for atom in monomial]
            term = "*".join(factors)
            text += f" {sign} {term}" if text else ("-" if coefficient < 0 else "") + term
        return text

    __repr__ = __str__


@lru_cache(4096)
def symbol(name: str) -> Size:
    """The size called `name`."""
    return Size((((Atom("symbol", name),), 1),))


def _atom_factor(atom: Atom, alone: bool) -> str:
    needs = atom.function in ("floordiv", "mod") and not alone
    return f"({atom})" if needs else str(atom)


def _factor(dim: Dim) -> str:
    if isinstance(dim, int):
        return str(dim) if dim >= 0 else f"({dim})"
    only = as_symbol(dim)
    return only if only is not None else f"({dim})"


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    return dim.terms if isinstance(dim, Size) else (((), dim),) if dim else ()


def _order(item: tuple[Monomial, int]) -> tuple[int, list[tuple[int, str]]]:
    return (-len(item[0]), [atom.key for atom in item[0]])


def _normal(terms: Mapping[Monomial, int]) -> Dim:
    kept = [(m, c) for m, c in terms.items() if c]
    if not kept:
        return 0
    if len(kept) > 1:
        kept.sort(key=_order)
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return Size(tuple(kept))


def _combine(left: Dim, right: Dim, sign: int) -> Dim:
    if isinstance(right, int) and right == 0:
        return left
    total = dict(_terms(left))
    for monomial, coefficient in _terms(right):
        total[monomial] = total.get(monomial, 0) + sign * coefficient
    return _normal(total)


def _opaque(function: str, left: Dim, right: Dim) -> Size:
    return Size((((Atom(function, "", left, right),), 1),))


def exact_quotient(left: Dim, right: Dim) -> Dim | None:
    """left / right where the polynomial division leaves nothing, else None.

    Divides by a single term only (`2*N`, `heads`): that is what shapes need.
    """
    if left == 0 and right != 0:
        return 0
    if left == right:
        return 1
    divisor = _terms(right)
    if len(divisor) != 1:
        return None
    (monomial, coefficient) = divisor[0]
    quotient: dict[Monomial, int] = {}
    for atoms, c in _terms(left):
        rest = list(atoms)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if c % coefficient:
            return None
        quotient[tuple(rest)] = c // coefficient
    return _normal(quotient)


def floordiv(left: Dim, right: Dim) -> Dim:
    """Floor of left / right; the divisor must not be the constant 0."""
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    exact = exact_quotient(left, right)
    if exact is not None:
        return exact
    if isinstance(right, int) and isinstance(left, Size):
        whole = _normal({m: c // right for m, c in left.terms if c % right == 0})
        rest = _normal({m: c for m, c in left.terms if c % right})
        if isinstance(rest, int):
            return whole + rest // right
        if whole != 0:  # floor(q*r + s, r) = q + floor(s, r)
            return whole + _opaque("floordiv", rest, right)
        return _opaque("floordiv", left, right)
    whole, rest = _divisible_part(left, right)
    if whole != 0:
        return whole + (0 if rest == 0 else floordiv(rest, right))
    return _opaque("floordiv", left, right)


def _divisible_part(left: Dim, right: Dim) -> tuple[Dim, Dim]:
    """(q, s) with left == q*right + s, q gathering every term that `right` divides."""
    whole: Dim = 0
    rest: Dim = 0
    for monomial, coefficient in _terms(left):
        term = _normal({monomial: coefficient})
        quotient = exact_quotient(term, right)
        if quotient is None:
            rest = rest + term
        else:
            whole = whole + quotient
    return whole, rest


def mod(left: Dim, right: Dim) -> Dim:
    """left - right * floor(left / right); the divisor must not be the constant 0."""
    if isinstance(left, int) and isinstance(right, int):
        return left % right
    if exact_quotient(left, right) is not None:
        return 0
    if isinstance(right, int) and isinstance(left, Size):
        left = _normal({m: c % right for m, c in left.terms})
        if isinstance(left, int):
            return left % right
    elif isinstance(right, Size):
        whole, rest = _divisible_part(left, right)
        if whole != 0:
            return mod(rest, right)
    return _opaque("mod", left, right)


def ceildiv(left: Dim, right: int) -> Dim:
    """Ceiling of left / right for a positive constant `right`."""
    return floordiv(left + (right - 1), right)


def maximum(left: Dim, right: Dim) -> Dim:
    """The larger of two dims, decided at once where provable."""
    if provably_le(left, right) or left in _alternatives("max", right):
        return right
    if provably_le(right, left) or right in _alternatives("max", left):
        return left
    return _opaque("max", left, right)


def minimum(left: Dim, right: Dim) -> Dim:
    """The smaller of two dims, decided at once where provable."""
    if provably_le(left, right) or right in _alternatives("min", left):
        return left
    if provably_le(right, left) or left in _alternatives("min", right):
        return right
    return _opaque("min", left, right)


def _alternatives(function: str, dim: Dim) -> list[Dim]:
    """The dims that a nest of max (or min) chooses from; itself where it is none."""
    if isinstance(dim, Size) and len(dim.terms) == 1 and dim.terms[0][1] == 1:
        monomial = dim.terms[0][0]
        if len(monomial) == 1 and monomial[0].function == function:
            left, right = monomial[0].left, monomial[0].right
            return [*_alternatives(function, left), *_alternatives(function, right)]
    return [dim]


def provably_le(left: Dim, right: Dim) -> bool:
    """Whether left <= right for all symbol values >= 0 (sufficient, not complete)."""
    return _provably_nonnegative(right - left)


def _provably_nonnegative(dim: Dim) -> bool:
    dim = _without_quotients(dim)
    return all(c >= 0 and all(_atom_nonnegative(a) for a in m) for m, c in _terms(dim))


def _without_quotients(dim: Dim) -> Dim:
    """At most `dim`: `c*(x // c)`, where it is taken away, is `x` and no less."""
    for monomial, coefficient in _terms(dim):
        atom = monomial[0] if len(monomial) == 1 else None
        if atom and atom.function == "floordiv" and atom.right == -coefficient:
            dim = dim + Size(((monomial, -coefficient),)) - atom.left
    return dim


def _atom_nonnegative(atom: Atom) -> bool:
    left, right = atom.left, atom.right
    match atom.function:
        case "symbol":
            return True
        case "mod":
            return _provably_nonnegative(right)
        case "max":
            return _provably_nonnegative(left) or _provably_nonnegative(right)
        case _:
            return _provably_nonnegative(left) and _provably_nonnegative(right)


def product(dims: tuple[Dim, ...] | list[Dim]) -> Dim:
    """The product of dims; 1 for none."""
    result: Dim = 1
    for dim in dims:
        result = result * dim
    return result


def as_symbol(dim: Dim) -> str | None:
    """The name, where `dim` is just one symbol."""
    if isinstance(dim, Size) and len(dim.terms) == 1:
        monomial, coefficient = dim.terms[0]
        if coefficient == 1 and len(monomial) == 1 and monomial[0].function == "symbol":
            return monomial[0].name
    return None


def _atoms(dim: Dim) -> Iterator[Atom]:
    for monomial, _ in _terms(dim):
        yield from monomial


def is_opaque(dim: Dim) -> bool:
    """Whether a size holds a quotient or the like: equality then is a constraint's business."""
    return any(atom.function != "symbol" for atom in _atoms(dim))


def symbols(dim: Dim) -> frozenset[str]:
    """The names that `dim` depends on."""
    found: set[str] = set()
    for atom in _atoms(dim):
        if atom.function == "symbol":
            found.add(atom.name)
        else:
            found |= symbols(atom.left) | symbols(atom.right)
    return frozenset(found)


def divisors(dim: Dim) -> frozenset[Dim]:
    """What `dim` divides by, in `mod` and `floordiv`, however deep inside."""
    found: set[Dim] = set()
    for atom in _atoms(dim):
        if atom.function in ("mod", "floordiv"):
            found.add(atom.right)
        if atom.function != "symbol":
            found |= divisors(atom.left) | divisors(atom.right)
    return frozenset(found)


def apply(function: str, left: Dim, right: Dim) -> Dim:
    """One of `FUNCTIONS` by name."""
    return {"floordiv": floordiv, "mod": mod, "max": maximum, "min": minimum}[function](left, right)


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """`dim` with each symbol in `values` replaced, normalised again."""
    if isinstance(dim, int):
        return dim
    result: Dim = 0
    for monomial, coefficient in dim.terms:
        term: Dim = coefficient
        for atom in monomial:
            if atom.function == "symbol":
                term = term * values.get(atom.name, symbol(atom.name))
            else:
                left, right = substitute(atom.left, values), substitute(atom.right, values)
                term = term * apply(atom.function, left, right)
        result = result + term
    return result


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The number, given every symbol. KeyError names a symbol without a value."""
    result = substitute(dim, values)
    if isinstance(result, Size):
        missing = min(symbols(result) - set(values))
        raise KeyError(missing)
    return result


def solve(dim: Dim, value: Dim) -> tuple[str, Dim] | None:
    """(name, solution) of dim == value where `dim` is linear in exactly one symbol and nothing
    else, so that a declared `2*H + 1` can bind H. The solution is floored: the caller checks.

    >>> solve(2 * symbol("H") + 1, 9)
    ('H', 4)
    """
    if isinstance(dim, int):
        return None
    constant = dict(dim.terms).get((), 0)
    rest = [(m, c) for m, c in dim.terms if m]
    if len(rest) != 1 or len(rest[0][0]) != 1 or rest[0][0][0].function != "symbol":
        return None
    return rest[0][0][0].name, floordiv(value - constant, rest[0][1])
