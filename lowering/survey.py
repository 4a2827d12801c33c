"""Looking over a kernel before its nest is written.

In: the values that one nest stores, read at its loop indices. Out: which indices are *rows* (some
reduction is read by them), and which costly values several stages read, so that they are worth
keeping in a row of scratch.

    softmax over [i, j]: the maximum and the sum are read at (i): rows are {i};
    exp(x - m) is read by the sum and by the quotient: kept, by its subscript 1

A reduction that stages read along a row, as a softmax does its scores, is kept so, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepwell.ir.graph.core import Op, Value
from stepwell.ir.ranges import Ranges, index_dim, lower_bound, upper_bound
from stepwell.ir.scalar import (
    Binary,
    Expr,
    Load,
    Reduce,
    Var,
    index,
    map_children,
    operations,
    simplify_index,
    substitute,
    variables,
    walk,
)
from stepwell.ir.size import provably_le

COSTLY = 8  # simple operations per element from which a value is kept rather than recomputed
_LIMIT = 4000  # reads looked at: past it nothing is kept, which is only slower


class Survey:
    """`row_names`, `reductions` (those read by row indices, each after the ones that it needs) and
    `shared_rows()` of one nest; see the module's docstring."""

    def __init__(
        self, producers: Mapping[Value, Op], results: Sequence[Value], names: Sequence[str]
    ) -> None:
        self.producers = producers
        self.row_names: set[str] = set()
        self.reductions: list[tuple[Value, tuple[Expr, ...]]] = []
        self._reads: dict[Value, dict[int, tuple[Expr, ...]]] = {}
        self._stages = 0
        self._visited: set[object] = set()
        self._reductions: set[tuple[Value, tuple[Expr, ...]]] = set()
        self._names = frozenset(names)
        for value in results:
            self._visit(value, tuple(Var(name) for name in names), 0)

    def _visit(self, value: Value, subscripts: tuple[Expr, ...], stage: int) -> None:
        subscripts = tuple(simplify_index(s) for s in subscripts)
        key = (value, subscripts, stage)
        if value not in self.producers or key in self._visited or len(self._visited) > _LIMIT:
            return
        self._visited.add(key)
        self._reads.setdefault(value, {})[stage] = subscripts
        op = self.producers[value]
        formula = op.formulas()[op.results.index(value)]
        environment = {a.name: s for a, s in zip(formula.axes, subscripts, strict=True)}
        names = op.definition.operand_names(len(op.operands))
        operands = dict(zip(names, op.operands, strict=True))
        reduces = any(isinstance(e, Reduce) for e in walk(formula.value))
        used: frozenset[str] = frozenset().union(*map(variables, subscripts))
        if reduces:
            self.row_names |= used & self._names
            if (value, subscripts) not in self._reductions:
                self._reductions.add((value, subscripts))
                self._stages += 1
                stage = self._stages
        self._expand(formula.value, environment, operands, stage)
        if reduces and used <= self._names:
            self.reductions.append((value, subscripts))

    def _expand(
        self,
        expr: Expr,
        environment: Mapping[str, Expr],
        operands: Mapping[str, Value],
        stage: int,
    ) -> None:
        match expr:
            case Load(buffer=buffer, indices=indices, guard=guard):
                for inner in (*indices, *(() if guard is None else (guard,))):
                    self._expand(inner, environment, operands, stage)
                read = tuple(substitute(i, dict(environment)) for i in indices)
                self._visit(operands[buffer], read, stage)
            case Reduce(axes=axes):
                inner_env = dict(environment)
                for axis in axes:
                    inner_env[axis.name] = Var(f"{axis.name}@{stage}")
                self._expand(expr.body, inner_env, operands, stage)
                if expr.guard is not None:
                    self._expand(expr.guard, inner_env, operands, stage)
            case _:

                def expand(child: Expr) -> Expr:
                    self._expand(child, environment, operands, stage)
                    return child

                map_children(expr, expand)

    def row_place(self, value: Value) -> tuple[Expr, ...] | None:
        """The subscripts by which the value is read once for each row; None where it is not."""
        for subscripts in self._reads.get(value, {}).values():
            used = [i.name for i in subscripts if isinstance(i, Var)]
            plain = all(isinstance(i, Var) or i == index(0) for i in subscripts)
            if plain and self.row_names and sorted(used) == sorted(self.row_names):
                return subscripts
        return None

    def shared_rows(self) -> dict[Value, tuple[int, ...]]:
        """Costly values that several stages read at different subscripts: value → the positions of
        the subscripts by which it is kept."""
        found: dict[Value, tuple[int, ...]] = {}
        for value, reads in self._reads.items():
            op = self.producers[value]
            if len(reads) < 2 or not (reduces(op) or self._own_cost(op) >= COSTLY):
                continue
            columns = list(zip(*reads.values(), strict=True))
            kept = tuple(i for i, column in enumerate(columns) if len(set(column)) > 1)
            rest = [column[0] for i, column in enumerate(columns) if i not in kept]
            used: frozenset[str] = frozenset().union(*map(variables, rest))
            if kept and used <= self.row_names:
                found[value] = kept
        return found

    def _own_cost(self, op: Op) -> int:
        return max(operations(formula.value) for formula in op.formulas())


def reduces(op: Op) -> bool:
    """Whether a formula of the op has a reduction in it."""
    return any(isinstance(e, Reduce) for formula in op.formulas() for e in walk(formula.value))


def always(condition: Expr, ranges: Ranges) -> bool:
    """Whether the condition is provable for all values of the loop indices."""
    match condition:
        case Binary(op="and", x=x, y=y):
            return always(x, ranges) and always(y, ranges)
        case Binary(op="or", x=x, y=y):
            return always(x, ranges) or always(y, ranges)
        case Binary(op="le" | "lt" | "ge" | "gt" | "eq" as op, x=x, y=y):
            left, right = index_dim(x, ranges), index_dim(y, ranges)
            if left is None or right is None:
                return False
            if op == "eq":
                gap = left - right
                return lower_bound(gap, ranges) == 0 and upper_bound(gap, ranges) == 0
            if op in ("ge", "gt"):
                left, right = right, left
            least = lower_bound(right - left, ranges)
            return least is not None and provably_le(1 if op in ("lt", "gt") else 0, least)
    return False


_OPPOSITE = {"lt": "ge", "ge": "lt", "le": "gt", "gt": "le"}


def never(condition: Expr, ranges: Ranges) -> bool:
    """Whether it is provable that the condition holds for no values of the loop indices."""
    match condition:
        case Binary(op="and", x=x, y=y):
            return never(x, ranges) or never(y, ranges)
        case Binary(op="or", x=x, y=y):
            return never(x, ranges) and never(y, ranges)
        case Binary(op=op, x=x, y=y) if op in _OPPOSITE:
            return always(Binary(_OPPOSITE[op], x, y), ranges)
    return False
