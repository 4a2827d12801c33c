"""Splitting index formulas into ops with at most one reduction each, at the root.

    %y = index(%x) {[n] -> log(sum[k] exp(x0[n, k]))}

    %y_sum = index(%x) {[n] -> sum[k] exp(x0[n, k])}
    %y = index(%y_sum) {[n] -> log(x0[n])}

A reduction inside another expression becomes an op over those axes around it that it uses. It is
guarded as its surroundings are where its reads would leave their axes otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stepwell.ir.graph.body import nested
from stepwell.ir.graph.builder import Builder
from stepwell.ir.graph.core import Op, Value
from stepwell.ir.ranges import within
from stepwell.ir.scalar import (
    Axis,
    Cast,
    Expr,
    Formula,
    Load,
    Reduce,
    Var,
    as_dim,
    loads,
    map_children,
    variables,
    walk,
)
from stepwell.ir.size import Dim
from stepwell.ir.span import Span


def is_split(formula: Formula) -> bool:
    """Whether the only reduction, if there is one, is the root."""
    return not any(isinstance(e, Reduce) for e in _below_root(formula.value))


def split(op: Op, b: Builder) -> Value:
    """The result of an `index` op, as the last of several that are split."""
    return _Splitting(op, b).run(op.attributes["formula"])


def emit(
    b: Builder, formula: Formula, named: Mapping[str, Value], hint: str, span: Span | None = None
) -> Value:
    """An `index` op for a formula whose loads are named so: operands in order of first use."""
    used = list(dict.fromkeys(load.buffer for load in loads(formula.value)))
    names = {name: f"x{i}" for i, name in enumerate(used)}
    renamed = Formula(formula.axes, _rename(formula.value, names))
    operands = [named[name] for name in used]
    return b.op("index", operands, hint=hint, span=span, formula=renamed)


def _below_root(expr: Expr) -> list[Expr]:
    """All of the expression but the reduction that is its root (or casts of that)."""
    while isinstance(expr, Cast):
        expr = expr.x
    everything = list(walk(expr))
    return everything[1:] if isinstance(expr, Reduce) else everything


@dataclass(frozen=True)
class _Scope:
    """What surrounds an expression: axes, outside first, and conditions under which it counts."""

    axes: tuple[Axis, ...]
    guards: tuple[Expr, ...] = ()

    def inside(self, reduce: Reduce) -> _Scope:
        guards = self.guards if reduce.guard is None else (*self.guards, reduce.guard)
        return _Scope((*self.axes, *reduce.axes), guards)


@dataclass
class _Splitting:
    """One formula being split: the values that its loads name."""

    op: Op
    b: Builder
    operands: dict[str, Value] = field(default_factory=dict)

    def run(self, formula: Formula) -> Value:
        names = self.op.definition.operand_names(len(self.op.operands))
        self.operands.update(zip(names, self.op.operands, strict=True))
        scope = _Scope(formula.axes)
        value = self._root(formula.value, scope)
        return self._emit(Formula(formula.axes, value), self.op.result.name)

    def _root(self, expr: Expr, scope: _Scope) -> Expr:
        if isinstance(expr, Cast):
            return Cast(self._root(expr.x, scope), expr.dtype)
        return self._inside(expr, scope) if isinstance(expr, Reduce) else self._hoist(expr, scope)

    def _inside(self, reduce: Reduce, scope: _Scope) -> Reduce:
        """The reduction without reductions in it."""
        guard = reduce.guard
        if guard is not None:
            guard = self._hoist(guard, _Scope((*scope.axes, *reduce.axes), scope.guards))
        free = replace(reduce, guard=guard)
        return replace(free, body=self._hoist(reduce.body, scope.inside(free)))

    def _hoist(self, expr: Expr, scope: _Scope) -> Expr:
        """The expression with every reduction in it replaced by a load of an op of its own."""
        if not isinstance(expr, Reduce):
            if isinstance(expr, Load) and expr.guard is not None:
                guard = self._hoist(expr.guard, scope)
                inner = replace(scope, guards=(*scope.guards, guard))
                indices = tuple(self._hoist(i, inner) for i in expr.indices)
                return replace(expr, indices=indices, guard=guard)
            return map_children(expr, lambda child: self._hoist(child, scope))
        reduce = self._guarded(self._inside(expr, scope), scope)
        used = variables(reduce)
        axes = tuple(axis for axis in scope.axes if axis.name in used)
        value = self._emit(Formula(axes, reduce), f"{self.op.result.name}_{reduce.kind}")
        name = f"hoisted{len(self.operands)}"
        self.operands[name] = value
        return Load(name, tuple(Var(axis.name) for axis in axes), value.type.dtype)

    def _guarded(self, reduce: Reduce, scope: _Scope) -> Reduce:
        """The reduction under the conditions around it, where its reads need them."""
        ranges = {axis.name: axis.extent for axis in (*scope.axes, *reduce.axes)}
        if not scope.guards or all(self._in_range(load, ranges) for load in loads(reduce)):
            return reduce
        return replace(reduce, guard=nested(*scope.guards, reduce.guard))

    def _in_range(self, load: Load, ranges: Mapping[str, Dim]) -> bool:
        shape = self.operands[load.buffer].type.shape
        for subscript, extent in zip(load.indices, shape, strict=True):
            dim = as_dim(subscript)
            if dim is None or not (dim == 0 or within(dim, extent, ranges)):
                return False
        return True

    def _emit(self, formula: Formula, hint: str) -> Value:
        return emit(self.b, formula, self.operands, hint, self.op.span)


def _rename(expr: Expr, names: Mapping[str, str]) -> Expr:
    inner = map_children(expr, lambda child: _rename(child, names))
    return replace(inner, buffer=names[inner.buffer]) if isinstance(inner, Load) else inner
