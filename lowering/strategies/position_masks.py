"""Which columns of an attention's rows weigh nothing, by their position: shown from the loops.

In: the loops over the columns of one row, from the scores to the mix. Out: comparisons of row and
column where a column has no weight unless they hold; and when a row has a column for which they do.

    let hidden = select(j <= i + n, score, -inf)          bounds   i + n - j ≥ 0
    m[] = max(m[], hidden);  e[j] = exp(hidden - m[])  →  seen     i + n ≥ 0

A comparison counts where from its failing follows, statement by statement, that the element is left
out: -inf is no maximum, exp of it is 0, and 0 adds nothing to a sum. So it is with -1e30, where
nothing else is added to the scores: products of queries and keys do not come near it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from stepwell.ir.dtypes import I64
from stepwell.ir.loop.analysis import (
    allocations,
    stores_of,
    substitute_block,
    writes,
)
from stepwell.ir.loop.core import Block, For, Let, Statement, Store, statements
from stepwell.ir.scalar import (
    COMPARISONS,
    Binary,
    Cast,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    as_dim,
    children,
    coefficient,
    from_dim,
    index,
    map_children,
    substitute,
    variables,
    walk,
)
from stepwell.ir.size import Dim, symbol
from stepwell.lowering.transforms.skip import places

FAR = -9.9e29  # what hides a score as -inf does: 1e30, less what bf16 may round
COLUMN = "column@"  # the number of the column, in bounds


@dataclass(frozen=True)
class PositionMask:
    """`bounds`, over the index `row` and COLUMN: all ≥ 0 where a column may have a weight. `seen`,
    over the row: all ≥ 0 where the row has such a column. `data` tells what names in them
    stand for that is no index arithmetic."""

    row: str
    bounds: tuple[Dim, ...]
    seen: tuple[Dim, ...]
    data: Mapping[str, Expr]

    def holds(self, dim: Dim) -> Expr:
        """dim ≥ 0, as a condition."""
        return Binary("ge", substitute(from_dim(dim), dict(self.data)), index(0))


def position_mask(body: Block, row: str, columns: Dim, kept: frozenset[str]) -> PositionMask | None:
    """The mask in a row's body; None where it cannot be told that columns have no weight. `kept`
    names the scratch that has a place for each column."""
    loops = list(_column_loops(body, columns, kept))
    if sum(len(places(loop.body, kept)) for loop in loops) != len(places(body, kept)):
        return None
    plain = [_plain(loop, body) for loop in loops]
    positions = _Positions(row)
    found = {
        dim: None for loop in plain for select in _selects(loop)
        for negated in (False, True) for dim in positions.parts(select.condition, negated)[0]
    }  # fmt: skip
    inner = writes(body)
    bounds = tuple(dim for dim in found if _Proof(positions, dim, kept, inner).run(plain))
    if not bounds or (_uses_far(plain) and not _are_all(positions, bounds, plain)):
        return None
    return PositionMask(row, bounds, tuple(_seen(bounds, columns)), positions.data)


def _uses_far(loops: Sequence[For]) -> bool:
    parts = (part for loop in loops for store in stores_of(loop.body) for part in walk(store.value))
    return any(isinstance(part, Const) and -inf < part.value <= FAR for part in parts)


def _are_all(positions: _Positions, bounds: Sequence[Dim], loops: Sequence[For]) -> bool:
    """Whether there are no conditions but the bounds."""
    return all(
        any(
            whole and set(dims) <= set(bounds)
            for dims, whole in (positions.parts(select.condition, n) for n in (False, True))
        )
        for loop in loops
        for select in _selects(loop)
    )


def _column_loops(body: Block, columns: Dim, kept: frozenset[str]) -> Iterator[For]:
    """The loops over all columns of what is kept of the row."""
    for loop in (s for s in statements(body) if isinstance(s, For)):
        touched = places((loop,), kept)
        if loop.extent == columns and touched and set(touched) == {(Var(loop.index),)}:
            yield loop


def _plain(loop: For, outer: Block) -> For:
    """The loop over COLUMN, with its lets and those outside put in."""
    values: dict[str, Expr] = {loop.index: Var(COLUMN)}
    body: list[Statement] = []
    for statement in (*(s for s in outer if isinstance(s, Let)), *loop.body):
        (statement,) = substitute_block((statement,), values)
        if isinstance(statement, Let):
            values[statement.name] = statement.value
        else:
            body.append(statement)
    return For(COLUMN, loop.extent, loop.kind, tuple(body), loop.span)


def _selects(loop: For) -> Iterator[Select]:
    for store in stores_of(loop.body):
        yield from (e for e in walk(store.value) if isinstance(e, Select))


def _seen(bounds: Sequence[Dim], columns: Dim) -> Iterator[Dim]:
    """What is ≥ 0 where some column in 0..columns satisfies all bounds."""
    column = symbol(COLUMN)
    upper = [dim + column for dim in bounds if coefficient(dim, COLUMN) == -1]
    lower = [column - dim for dim in bounds if coefficient(dim, COLUMN) == 1]
    yield from upper
    yield from (columns - 1 - least for least in lower)
    yield from (most - least for most in upper for least in lower)


@dataclass
class _Positions:
    """Comparisons of row and column, as dims that are ≥ 0 where they hold."""

    row: str
    data: dict[str, Expr] = field(default_factory=dict)

    def parts(self, condition: Expr, negated: bool = False) -> tuple[list[Dim], bool]:
        """What must hold for the condition to (or, negated, for it not to); whether that is all."""
        match condition:
            case Unary(op="not", x=x):
                return self.parts(x, not negated)
            case Binary(op=op, x=x, y=y) if op == ("or" if negated else "and"):
                (left, first), (right, second) = self.parts(x, negated), self.parts(y, negated)
                return [*left, *right], first and second
            case Binary(op=op, x=x, y=y) if op in COMPARISONS and x.dtype == I64:
                bound = self._bound(op, x, y, negated)
                return ([], False) if bound is None else ([bound], True)
        return [], False

    def _bound(self, op: str, x: Expr, y: Expr, negated: bool) -> Dim | None:
        left, right = as_dim(self._named(x)), as_dim(self._named(y))
        if left is None or right is None:
            return None
        if negated:
            op = {"le": "gt", "lt": "ge", "ge": "lt", "gt": "le"}.get(op, "")
        gap = {
            "le": right - left, "lt": right - left - 1, "ge": left - right, "gt": left - right - 1
        }.get(op)  # fmt: skip
        if gap is None or coefficient(gap, COLUMN) not in (1, -1):
            return None
        return gap if isinstance(coefficient(gap, self.row), int) else None

    def _named(self, expr: Expr) -> Expr:
        """The expression with a name for each part that is no index arithmetic."""
        if as_dim(expr) is not None:
            return expr
        if isinstance(expr, Binary) and expr.op in ("add", "sub"):
            return map_children(expr, self._named)
        if variables(expr) & {self.row, COLUMN}:
            return expr
        name = next((n for n, known in self.data.items() if known == expr), f"{len(self.data)}@")
        self.data[name] = expr
        return Var(name)


@dataclass
class _Proof:
    """That an element counts for nothing where a bound fails: each value is then "-inf", "far"
    below any score that is a product, "zero", or anything (None). `inner` is what rows compute."""

    positions: _Positions
    bound: Dim
    kept: frozenset[str]
    inner: frozenset[str]
    values: dict[str, str | None] = field(default_factory=dict)  # of what is kept of a row

    def run(self, loops: Sequence[For]) -> bool:
        return all(self._is_left_out(s, loop) for loop in loops for s in loop.body)

    def _is_left_out(self, statement: Statement, loop: For) -> bool:
        match statement:
            case Store(buffer=name, value=value) if name in self.kept:
                self.values[name] = self._value(value)
                return True
            case Store(buffer=name, value=Binary(op=op, x=Load(buffer=same), y=y)) if name == same:
                return (op, self._value(y)) in (("max", "-inf"), ("max", "far"), ("add", "zero"))
        own = {buffer.name for buffer in allocations(loop.body)}
        if isinstance(statement, For) and not writes((statement,)) <= own:
            return all(self._is_left_out(inner, loop) for inner in statement.body)
        return writes((statement,)) <= own

    def _value(self, expr: Expr) -> str | None:
        match expr:
            case Const(value=float(value)):
                far = "far" if value <= FAR else None
                return "zero" if value == 0 else "-inf" if value == -inf else far
            case Load(buffer=name):
                return self.values.get(name)
            case Cast(x=x) if x.dtype.is_float and expr.dtype.is_float:
                return self._value(x)
            case Select():
                return self._chosen(expr)
            case Unary(op="exp" | "exp2", x=x):
                return "zero" if self._value(x) in ("-inf", "far") else None
            case Binary(op="add", x=x, y=y):
                return self._moved(x, y) or self._moved(y, x)
            case Binary(op="sub", x=x, y=y):
                return self._moved(x, y)
            case Binary(op="mul", x=x, y=y):
                return "zero" if "zero" in (self._value(x), self._value(y)) else None
            case Binary(op="div", x=x):
                return "zero" if self._value(x) == "zero" else None
        return None

    def _chosen(self, expr: Select) -> str | None:
        if self.bound in self.positions.parts(expr.condition)[0]:
            chosen, other = self._value(expr.y), expr.x
        elif self.bound in self.positions.parts(expr.condition, negated=True)[0]:
            chosen, other = self._value(expr.x), expr.y
        else:
            values = {self._value(expr.x), self._value(expr.y)}
            chosen, other = values.pop() if len(values) == 1 else None, expr
        return None if chosen == "far" and not self._is_inner(other) else chosen

    def _moved(self, value: Expr, by: Expr) -> str | None:
        """The value with a number added, or taken away."""
        found = self._value(value)
        return found if found == "-inf" or (found == "far" and self._is_inner(by)) else None

    def _is_inner(self, expr: Expr) -> bool:
        """Whether scores and what they give are all there is in it, conditions aside."""
        if isinstance(expr, Select):
            return self._is_inner(expr.x) and self._is_inner(expr.y)
        if isinstance(expr, Load):
            return expr.buffer in self.inner
        return all(map(self._is_inner, children(expr)))
