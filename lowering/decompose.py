"""Decomposition: index formulas into ops with at most one reduction each, at the root.

    %y = index(%x) {[n] -> log(sum[k] exp(x0[n, k]))}

    %y_sum = index(%x) {[n] -> sum[k] exp(x0[n, k])}
    %y = index(%y_sum) {[n] -> log(x0[n])}

A reduction inside another expression becomes an op over those axes around it that it uses. It is
guarded as its surroundings are where its reads would leave their axes otherwise. A formula that is
the sum of a product of two plain reads becomes a `contract`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import ascii_letters
from typing import ClassVar

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.graph.rewrite import Editor, rewrite
from stepwell.ir.scalar import (
    Axis,
    Binary,
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
from stepwell.lowering.ranges import within


@dataclass(frozen=True)
class Decompose:
    """Split index formulas so that each op has at most one reduction, the root of its formula.

    Before: `%y = index(%x) {[n] -> log(sum[k] exp(x0[n, k]))}`.
    After: `%y_sum = index(%x) {[n] -> sum[k] exp(x0[n, k])}`, then
    `%y = index(%y_sum) {[n] -> log(x0[n])}`.
    """

    name: ClassVar[str] = "decompose"

    def run(self, graph: Graph) -> Graph:
        return rewrite(graph, _decompose)


def _decompose(op: Op, editor: Editor) -> Sequence[Value] | None:
    if op.name != "index":
        return None
    formula: Formula = op.attributes["formula"]
    einsum = _einsum(op, formula)
    if einsum is not None:
        spec, operands = einsum
        return [editor.op("contract", operands, hint=op.result.name, span=op.span, spec=spec)]
    if not any(isinstance(e, Reduce) for e in _below_root(formula.value)):
        return None
    return [_Splitting(op, editor).run(formula)]


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
    editor: Editor
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
        guards = scope.guards if reduce.guard is None else (*scope.guards, reduce.guard)
        return replace(reduce, guard=functools.reduce(lambda x, y: Binary("and", x, y), guards))

    def _in_range(self, load: Load, ranges: Mapping[str, Dim]) -> bool:
        shape = self.operands[load.buffer].type.shape
        for subscript, extent in zip(load.indices, shape, strict=True):
            dim = as_dim(subscript)
            if dim is None or not (dim == 0 or within(dim, extent, ranges)):
                return False
        return True

    def _emit(self, formula: Formula, hint: str) -> Value:
        """An op for the formula, its operands the values that it loads, in order of first use."""
        used = list(dict.fromkeys(load.buffer for load in loads(formula.value)))
        names = {name: f"x{i}" for i, name in enumerate(used)}
        renamed = Formula(formula.axes, _rename(formula.value, names))
        operands = [self.operands[name] for name in used]
        return self.editor.op("index", operands, hint=hint, span=self.op.span, formula=renamed)


def _rename(expr: Expr, names: Mapping[str, str]) -> Expr:
    inner = map_children(expr, lambda child: _rename(child, names))
    return replace(inner, buffer=names[inner.buffer]) if isinstance(inner, Load) else inner


def _einsum(op: Op, formula: Formula) -> tuple[str, tuple[Value, ...]] | None:
    """The `contract` that the formula is, if it is one: its specification and operands."""
    dtype, root = formula.value.dtype, formula.value
    reduce = root.x if isinstance(root, Cast) else root
    if not isinstance(reduce, Reduce) or reduce.kind != "sum" or reduce.guard is not None:
        return None
    body = reduce.body
    axes = (*formula.axes, *reduce.axes)
    if not isinstance(body, Binary) or body.op != "mul" or len(axes) > len(ascii_letters):
        return None
    if body.dtype != dtype.compute:
        return None
    letters = {axis.name: letter for axis, letter in zip(axes, ascii_letters, strict=False)}
    extents = {axis.name: axis.extent for axis in axes}
    names = op.definition.operand_names(len(op.operands))
    operands = dict(zip(names, op.operands, strict=True))
    terms = []
    for factor in (body.x, body.y):
        read = _plain_read(factor, dtype, operands, extents)
        if read is None:
            return None
        terms.append((operands[read[0]], "".join(letters[name] for name in read[1])))
    (x, left), (y, right) = terms
    if set(left + right) != set(letters.values()):
        return None
    return f"{left},{right}->{''.join(letters[axis.name] for axis in formula.axes)}", (x, y)


def _plain_read(
    expr: Expr, dtype: DType, operands: Mapping[str, Value], extents: Mapping[str, Dim]
) -> tuple[str, list[str]] | None:
    """The buffer and axes of a load, in the dtype, of a whole tensor by distinct axes."""
    if isinstance(expr, Cast) and expr.dtype == dtype.compute:
        expr = expr.x
    if not isinstance(expr, Load) or expr.guard is not None or expr.dtype != dtype:
        return None
    shape = operands[expr.buffer].type.shape
    names = [index.name for index in expr.indices if isinstance(index, Var)]
    if len(names) != len(shape) or len(set(names)) != len(names):
        return None
    if any(extents.get(n) != extent for n, extent in zip(names, shape, strict=True)):
        return None
    return expr.buffer, names
