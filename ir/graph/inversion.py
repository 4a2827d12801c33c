"""Subscripts solved for the indices in them.

In: the subscripts of a load, the axes over which they run, and the shape that they reach into. Out:
for an element of that shape, at `v0, v1, …`, the indices at which the load reads it: some axes as
expressions, some that stay free, and a condition.

    x[n, 2*i + p]   n: N, i: 8, p: 2     →   n = v0, i = v1 // 2, p = v1 % 2
    x[i + p]        i: 8, p: 3           →   i = v0 - p, p free, where 0 <= v0 - p < 8
    x[i, i]         i: 8                 →   i = v0, where v0 == v1

An axis alone in a subscript is taken first; then what divides without rest; then, of several axes
in one subscript, the longest is solved for and the others stay free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stepwell.ir import size
from stepwell.ir.graph.body import both
from stepwell.ir.ranges import Ranges, index_dim, lower_bound, simplify_dim, upper_bound
from stepwell.ir.scalar import (
    Axis,
    Binary,
    Expr,
    as_dim,
    coefficient,
    divides_by,
    from_dim,
)
from stepwell.ir.size import Atom, Dim, Size, ceildiv, floordiv, mod, provably_le, symbol, symbols

_NOMINAL = 1000  # what a size is taken for where lengths of axes are compared


@dataclass
class Inversion:
    """The solution: `solved` axes, those `free` (some of them new), and when it holds."""

    solved: dict[str, Dim] = field(default_factory=dict)
    free: dict[str, Dim] = field(default_factory=dict)
    guards: list[Expr] = field(default_factory=list)

    @property
    def guard(self) -> Expr | None:
        return both(*self.guards)


@dataclass(frozen=True)
class _Equation:
    """`left`, over what is known, equals `right`, over axes."""

    left: Dim
    right: Dim


def invert(
    subscripts: Sequence[tuple[Expr, Axis]], axes: Sequence[Axis], fresh: Callable[[str], str]
) -> Inversion | None:
    """The axes in terms of those that stand with the subscripts and number the elements; None
    where that is not to be had: a subscript holds data, or products of axes. `fresh` gives names
    for new axes."""
    extents = {axis.name: axis.extent for axis in axes}
    equations = []
    for subscript, axis in subscripts:
        dim = as_dim(subscript)
        if dim is None or divides_by(subscript, extents):
            return None
        equations.append(_Equation(symbol(axis.name), dim))
    known = {axis.name: axis.extent for _, axis in subscripts}
    return _Solving(extents, known, equations, fresh).run()


class _Solving:
    def __init__(
        self,
        extents: dict[str, Dim],
        outer: dict[str, Dim],
        equations: list[_Equation],
        fresh: Callable[[str], str],
    ) -> None:
        self.fresh = fresh
        self.free = dict(extents)
        self.known = outer
        self.equations = equations
        self.found = Inversion()

    def run(self) -> Inversion | None:
        while self.equations:
            if not any(step() for step in (self._alone, self._unique, self._longest, self._parts)):
                return None
        self.found.free = self.free
        self.found.solved = {
            name: simplify_dim(dim, self._ranges()) for name, dim in self.found.solved.items()
        }
        return self.found

    def _ranges(self) -> dict[str, Dim]:
        return {**self.known, **self.free}

    def _axes(self, dim: Dim) -> list[str]:
        """The free axes in a dim."""
        used = symbols(dim)
        return [name for name in self.free if name in used]

    # Ways to solve one equation: each says whether it took one away

    def _alone(self) -> bool:
        """v == a, or v == 3, for an axis a."""
        for equation in self.equations:
            names = self._axes(equation.right)
            if not names:
                self._take(equation)
                if equation.left != equation.right:
                    self._require("eq", equation.left, equation.right)
                return True
            if equation.right == symbol(names[0]):
                self._take(equation)
                self._solve(names[0], equation.left)
                return True
        return False

    def _unique(self) -> bool:
        """v == c*a + rest + d with 0 <= rest < c: a quotient and a remainder."""
        for equation in self.equations:
            names = self._axes(equation.right)
            offset = size.substitute(equation.right, dict.fromkeys(names, 0))
            for name in names:
                c = coefficient(equation.right, name) if isinstance(equation.right, Size) else None
                if c is None or self._axes(c) or not provably_le(1, c):
                    continue
                rest = equation.right - c * symbol(name) - offset
                low, high = (f(rest, self._ranges()) for f in (lower_bound, upper_bound))
                if low is None or high is None:
                    continue
                if provably_le(0, low) and provably_le(high + 1, c):
                    self._take(equation)
                    value = equation.left - offset
                    self._divide(name, value, c, rest)
                    return True
        return False

    def _divide(self, name: str, value: Dim, c: Dim, rest: Dim) -> None:
        """value == c*name + rest with 0 <= rest < c."""
        if c == 1:  # rest is 0
            self._solve(name, value)
            return
        if rest == 0:
            self._require("eq", mod(value, c), 0)
        else:
            self.equations.append(_Equation(mod(value, c), rest))
        self._solve(name, floordiv(value, c))

    def _longest(self) -> bool:
        """v == c*a + others, for the longest axis a with a number c: the others stay free."""
        best: tuple[int, int, str, _Equation] | None = None
        for equation in self.equations:
            for position, name in enumerate(self._axes(equation.right)):
                c = coefficient(equation.right, name)
                if isinstance(c, int) and c != 0 and not _is_hidden(name, equation.right):
                    key = (_nominal(self.free[name]), -position, name, equation)
                    best = key if best is None or key[:2] > best[:2] else best
        if best is None:
            return False
        _, _, name, equation = best
        c = coefficient(equation.right, name) if isinstance(equation.right, Size) else None
        assert isinstance(c, int), "chosen so"
        value = equation.left - (equation.right - c * symbol(name))
        self._take(equation)
        if abs(c) != 1:
            self._require("eq", mod(value, abs(c)), 0)
        self._solve(name, floordiv(value, c) if c > 0 else floordiv(-value, -c))
        return True

    def _parts(self) -> bool:
        """v == e // c: e is c*v + r for a new axis r: c; v == e % c: e is c*q + v for a new q."""
        for equation in self.equations:
            found = _function(equation.right)
            if found is None:
                continue
            atom, offset = found
            inner, c = atom.left, atom.right
            low, high = (f(inner, self._ranges()) for f in (lower_bound, upper_bound))
            if not isinstance(c, int) or c < 1 or low is None or high is None:
                continue
            value = equation.left - offset
            if atom.function == "floordiv":
                rest = self._axis("r", c)
                self._take(equation)
                self.equations.append(_Equation(c * value + symbol(rest), inner))
                return True
            if atom.function == "mod" and provably_le(0, low):
                whole = self._axis("q", ceildiv(high + 1, c))
                self._take(equation)
                self._require("ge", value, 0)
                self._require("lt", value, c)
                self.equations.append(_Equation(c * symbol(whole) + value, inner))
                return True
        return False

    # What solving changes

    def _take(self, equation: _Equation) -> None:
        self.equations.remove(equation)

    def _axis(self, wanted: str, extent: Dim) -> str:
        """A new free axis, of which what is known may depend."""
        name = self.fresh(wanted)
        self.free[name] = extent
        return name

    def _solve(self, name: str, value: Dim) -> None:
        """The axis is the value, which must be in its range."""
        extent = self.free.pop(name)
        put = {name: value}
        self.equations = [
            _Equation(size.substitute(e.left, put), self._simple(size.substitute(e.right, put)))
            for e in self.equations
        ]
        self.found.solved = {
            axis: size.substitute(dim, put) for axis, dim in self.found.solved.items()
        }
        self.found.guards = [_substituted(guard, put) for guard in self.found.guards]
        self.found.solved[name] = value
        self._require("ge", value, 0)
        self._require("lt", value, extent)

    def _simple(self, dim: Dim) -> Dim:
        return simplify_dim(dim, self._ranges())

    def _require(self, relation: str, left: Dim, right: Dim) -> None:
        """One more condition, unless it always holds."""
        left = self._simple(left)
        low, high = self._bounds(left)
        always = {
            "ge": low is not None and provably_le(right, low),
            "lt": high is not None and provably_le(high + 1, right),
            "eq": left == right,
        }
        if not always[relation]:
            self.found.guards.append(Binary(relation, from_dim(left), from_dim(right)))

    def _bounds(self, dim: Dim) -> tuple[Dim | None, Dim | None]:
        found = _function(dim)
        if found is None or not isinstance(found[0].right, int) or found[0].right < 1:
            return lower_bound(dim, self._ranges()), upper_bound(dim, self._ranges())
        atom, offset = found
        if atom.function == "mod":
            return offset, atom.right - 1 + offset
        ends = [f(atom.left, self._ranges()) for f in (lower_bound, upper_bound)]
        low, high = (None if e is None else floordiv(e, atom.right) + offset for e in ends)
        return low, high


def needed(guard: Expr | None, ranges: Ranges) -> Expr | None:
    """The guard without those of its conditions that always hold over the ranges."""
    if guard is None:
        return None
    if isinstance(guard, Binary) and guard.op == "and":
        return both(needed(guard.x, ranges), needed(guard.y, ranges))
    return None if _holds(guard, ranges) else guard


def _holds(guard: Expr, ranges: Ranges) -> bool:
    if not isinstance(guard, Binary) or guard.op not in ("ge", "gt", "le", "lt"):
        return False
    left, right = (index_dim(e, ranges) for e in (guard.x, guard.y))
    if left is None or right is None:
        return False
    if guard.op in ("le", "lt"):
        left, right = right, left
    low = lower_bound(simplify_dim(left - right, ranges), ranges)
    return low is not None and provably_le(1 if guard.op in ("gt", "lt") else 0, low)


def _substituted(expr: Expr, values: Mapping[str, Dim]) -> Expr:
    """A condition with values put in."""
    assert isinstance(expr, Binary), "a comparison"
    left, right = as_dim(expr.x), as_dim(expr.y)
    assert left is not None, "made of dims"
    assert right is not None, "made of dims"
    left, right = size.substitute(left, values), size.substitute(right, values)
    return Binary(expr.op, from_dim(left), from_dim(right))


def _function(dim: Dim) -> tuple[Atom, int] | None:
    """(the atom, d) where a dim is a quotient or remainder, plus a number d."""
    if isinstance(dim, int):
        return None
    offset = dict(dim.terms).get((), 0)
    rest = [(m, c) for m, c in dim.terms if m]
    if len(rest) != 1 or rest[0][1] != 1 or len(rest[0][0]) != 1:
        return None
    atom = rest[0][0][0]
    return (atom, offset) if atom.function in ("floordiv", "mod") else None


def _is_hidden(name: str, dim: Dim) -> bool:
    """Whether an index also stands inside a quotient or the like."""
    return coefficient(dim, name) is None if isinstance(dim, Size) else False


def _nominal(dim: Dim) -> int:
    return size.evaluate(dim, dict.fromkeys(symbols(dim), _NOMINAL))
