"""The gradient of index notation: formulas again.

In: an `index` op and the cotangent of its result. Out: a cotangent per operand.

    %y = index(%a, %b) {[i: N, j: M] -> sum[k: K] x0[i, k] * x1[k, j]}

    %a.grad = index(%y.grad, %b) {[i: N, j: K] -> sum[p: M] x0[i, p] * x1[j, p]}
    %b.grad = index(%y.grad, %a) {[i: K, j: M] -> sum[p: N] x0[p, j] * x1[p, i]}

A formula with reductions inside others is split first. Each load then has a cotangent at all
indices around it (`stepwell.ir.adjoint`); its subscripts are inverted, so that those indices are
what the element at hand is read by, and the rest is summed. Where they cannot be (a subscript
that holds data), the cotangents are added to their elements one by one: `scatter_add`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stepwell.ir.adjoint import cotangents
from stepwell.ir.dtypes import I64, DType
from stepwell.ir.graph.body import Names, both, flat, guarded, nested, variables
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Op, Value
from stepwell.ir.graph.derivative import pull_back
from stepwell.ir.graph.inversion import Inversion, invert, needed
from stepwell.ir.graph.products import product_of_others
from stepwell.ir.graph.splitting import emit, is_split, split
from stepwell.ir.scalar import (
    Axis,
    Binary,
    Cast,
    Const,
    Expr,
    Formula,
    Load,
    Reduce,
    Select,
    Unary,
    Var,
    as_dim,
    from_dim,
    index,
    map_children,
    simplify_index,
    substitute,
    walk,
)
from stepwell.ir.scalar import variables as used_names
from stepwell.ir.size import Dim, symbols
from stepwell.ir.types import TensorType


def index_gradient(b: GraphBuilder, op: Op, given: Sequence[Value]) -> list[Value | None]:
    """The gradient rule of `index`."""
    formula: Formula = op.attributes["formula"]
    if not is_split(formula):
        start = len(b.ops)
        value = split(op, b)
        return pull_back(b, b.ops[start:], op.operands, {value: given[0]})
    return _Pulling(b, op, given[0]).run(formula)


@dataclass(frozen=True)
class _Term:
    """A load and its cotangent at all indices around it, where a guard holds."""

    load: Load
    cotangent: Expr
    axes: tuple[Axis, ...]
    guard: Expr | None


class _Pulling:
    """One split formula being differentiated; `named` are the values that its loads name."""

    def __init__(self, b: GraphBuilder, op: Op, dy: Value) -> None:
        self.b, self.op = b, op
        names = op.definition.operand_names(len(op.operands))
        self.named = dict(zip(names, op.operands, strict=True))
        self.named |= {"y": op.result, "dy": dy}
        self.taken = {n for v in self.named.values() for d in v.type.shape for n in symbols(d)}

    def run(self, formula: Formula) -> list[Value | None]:
        self.taken |= _names_in(formula)
        totals: dict[str, Value] = {}
        for term in self._terms(formula):
            value = self._pulled(term)
            before = totals.get(term.load.buffer)
            totals[term.load.buffer] = (
                value if before is None else self.b.op("add", [before, value])
            )
        return [totals.get(name) for name in list(self.named)[: len(self.op.operands)]]

    # What each load contributes

    def _terms(self, formula: Formula) -> list[_Term]:
        """One per load, those of equal loads added up."""
        expr = formula.value
        d: Expr = self._result("dy", formula)
        axes, guard = formula.axes, None
        while isinstance(expr, Cast) and expr.x.dtype.is_float:
            d = Cast(d, expr.x.dtype)
            expr = expr.x
        if isinstance(expr, Reduce) and expr.dtype.is_float:
            d = self._reduced(expr, formula, d)
            axes, guard, expr = (*axes, *expr.axes), expr.guard, expr.body
        found: dict[Load, Expr] = {}
        for load, cotangent in cotangents(expr, d):
            before = found.get(load)
            found[load] = cotangent if before is None else Binary("add", before, cotangent)
        return [
            _Term(load, cotangent, axes, nested(guard, load.guard))
            for load, cotangent in found.items()
        ]

    def _result(self, name: str, formula: Formula) -> Load:
        return Load(name, variables(formula.axes), formula.value.dtype)

    def _reduced(self, reduce: Reduce, formula: Formula, d: Expr) -> Expr:
        """The cotangent of a reduction's body."""
        match reduce.kind:
            case "sum":
                return d
            case "prod":
                others = self._others_of_rows(reduce)
                return Binary("mul", d, self._others(reduce) if others is None else others)
        largest = self._result("y", formula)
        equal = Binary("eq", _stored(reduce.body, largest.dtype), largest)
        share = replace(largest, buffer=self._share(reduce, formula, equal))
        return Select(equal, _cast(share, d.dtype), Const(0, d.dtype))

    def _share(self, reduce: Reduce, formula: Formula, equal: Expr) -> str:
        """dy over the number of terms that are the maximum: they share it equally."""
        dtype = formula.value.dtype
        one = Select(equal, Const(1, dtype), Const(0, dtype))
        count = self._emit(formula.axes, Reduce("sum", reduce.axes, one, reduce.guard))
        dy = self.named["dy"]
        least = self.b.op("constant", value=1.0, dtype=dtype, shape=dy.type.shape)
        share = self.b.op("div", [dy, self.b.op("max", [count, least])])
        return self._name(share)

    def _others_of_rows(self, reduce: Reduce) -> Load | None:
        """Where a product runs through whole axes of an operand: of a value made once for all."""
        row, axes = reduce.body, {axis.name: axis.extent for axis in reduce.axes}
        if not isinstance(row, Load) or reduce.guard is not None or row.guard is not None:
            return None
        shape = self.named[row.buffer].type.shape
        places = [n for n, s in enumerate(row.indices) if used_names(s) & axes.keys()]
        subscripts = [row.indices[n] for n in places]
        whole = [
            isinstance(s, Var) and axes[s.name] == shape[n]
            for n, s in zip(places, subscripts, strict=True)
        ]
        if len(set(subscripts)) != len(axes) or len(places) != len(axes) or not all(whole):
            return None
        value = product_of_others(self.b, self.named[row.buffer], places)
        return replace(row, buffer=self._name(value))

    def _others(self, reduce: Reduce) -> Reduce:
        """The product of all other terms: exact where a term is 0."""
        names = {axis.name: self._fresh(axis.name) for axis in reduce.axes}
        put: dict[str, Expr] = {old: Var(new) for old, new in names.items()}
        different: Expr | None = None
        for old, new in names.items():
            test = Binary("ne", Var(new), Var(old))
            different = test if different is None else Binary("or", different, test)
        guard = None if reduce.guard is None else substitute(reduce.guard, put)
        axes = tuple(Axis(names[axis.name], axis.extent) for axis in reduce.axes)
        return Reduce("prod", axes, substitute(reduce.body, put), both(guard, different))

    # Where it goes

    def _pulled(self, term: _Term) -> Value:
        """The gradient of the term's operand."""
        shape = self.named[term.load.buffer].type.shape
        outer = tuple(Axis(self._fresh("v"), dim) for dim in shape)
        pairs = list(zip(term.load.indices, outer, strict=True))
        plain = [(s, axis) for s, axis in pairs if as_dim(s) is not None]
        solution = invert(plain, term.axes, self._fresh)
        if solution is None or (len(plain) < len(pairs) and solution.free):
            return self._scattered(term)
        hits = [Binary("eq", s, Var(axis.name)) for s, axis in pairs if as_dim(s) is None]
        return self._gathered(term, outer, solution, hits)

    def _gathered(
        self, term: _Term, outer: Sequence[Axis], solution: Inversion, hits: Sequence[Expr]
    ) -> Value:
        """For each element of the operand, the sum over the indices left free."""
        put = {name: from_dim(dim) for name, dim in solution.solved.items()}
        bounds, given = solution.guard, both(term.guard, *hits)
        if given is not None:
            ranges = {axis.name: axis.extent for axis in outer} | solution.free
            given = needed(guarded(_simplified(substitute(given, put)), bounds), ranges)
        free = tuple(Axis(name, extent) for name, extent in solution.free.items())
        cotangent = _simplified(substitute(term.cotangent, put))
        return self._emit(outer, _summed(cotangent, free, both(bounds, given)))

    def _scattered(self, term: _Term) -> Value:
        """The cotangents, summed over the axes that no subscript has, added where they belong."""
        type = self.named[term.load.buffer].type
        extents = {axis.name: axis.extent for axis in term.axes}
        used = [_axes_in(subscript, extents) for subscript in term.load.indices]
        rows = [d for d in range(type.rank) if d not in _lone(term.load, type.shape, used, extents)]
        asked = [] if term.guard is None else _axes_in(term.guard, extents)
        if len(rows) != 1 or not set(asked) <= set(used[rows[0]]):
            return self._scattered_flat(term, [*asked, *(n for names in used for n in names)])
        (axis,) = rows
        kept = [Axis(n, extents[n]) for names in used for n in names]
        places = self._places(term.load.indices[axis], used[axis], term)
        return self._scatter(type, places, self._updates(term, kept), axis)

    def _scattered_flat(self, term: _Term, names: Sequence[str]) -> Value:
        """The same by row-major numbers of elements."""
        type = self.named[term.load.buffer].type
        kept = [axis for axis in term.axes if axis.name in names]
        number = flat(term.load.indices, type.shape)
        places = self._places(number, [axis.name for axis in kept], term)
        row = type.with_shape((type.elements,))
        found = self._scatter(row, places, self._updates(term, kept), 0)
        return self.b.op("reshape", [found], shape=type.shape)

    def _updates(self, term: _Term, kept: Sequence[Axis]) -> Value:
        names = {axis.name for axis in kept}
        free = tuple(axis for axis in term.axes if axis.name not in names)
        return self._emit(kept, _summed(term.cotangent, free, term.guard))

    def _places(self, subscript: Expr, rows: Sequence[str], term: _Term) -> Value:
        """Where each row goes: nowhere, where the guard says that nothing is read."""
        if term.guard is not None:
            subscript = Select(term.guard, guarded(subscript, term.guard), index(-1))
        return self._emit([axis for axis in term.axes if axis.name in rows], subscript)

    def _scatter(self, type: TensorType, places: Value, updates: Value, axis: int) -> Value:
        zeros = self.b.op("constant", value=0.0, dtype=type.dtype, shape=type.shape)
        return self.b.op("scatter_add", [zeros, places, updates], axis=axis)

    # Making values

    def _emit(self, axes: Sequence[Axis], value: Expr) -> Value:
        """An `index` op, its axes named in the usual way; an operand as it is where that is it."""
        plain = value.x if isinstance(value, Cast) and value.dtype is I64 else value
        if (
            isinstance(plain, Load)
            and plain.guard is None
            and plain.dtype.is_float == (value.dtype.is_float)
        ):
            operand = self.named[plain.buffer]
            whole = operand.type.shape == tuple(axis.extent for axis in axes)
            if whole and plain.indices == variables(axes):
                return operand
        return emit(self.b, _usual_names(Formula(tuple(axes), value)), self.named, "d")

    def _fresh(self, wanted: str) -> str:
        count = 1
        while f"{wanted}{count}" in self.taken:
            count += 1
        self.taken.add(f"{wanted}{count}")
        return f"{wanted}{count}"

    def _name(self, value: Value) -> str:
        name = f"made{len(self.named)}"
        self.named[name] = value
        return name


def _summed(cotangent: Expr, free: tuple[Axis, ...], guard: Expr | None) -> Expr:
    """The sum over free axes where a guard holds; 0 where there are none and it does not."""
    if free:
        return Reduce("sum", free, cotangent, guard)
    if guard is None:
        return cotangent
    inside = guarded(cotangent, guard)
    return inside if _vanishes(inside) else Select(guard, inside, Const(0, inside.dtype))


def _vanishes(expr: Expr) -> bool:
    """Whether a guarded expression is 0 where nothing is read: a product of loads."""
    match expr:
        case Load():
            return True
        case Cast(x=x) | Unary(op="neg", x=x):
            return _vanishes(x)
        case Binary(op="mul", x=x, y=Const()) | Binary(op="mul", x=Const(), y=x):
            return _vanishes(x)
        case Binary(op="mul", x=x, y=y):
            return _vanishes(x) and _vanishes(y)
    return False


def _stored(expr: Expr, dtype: DType) -> Expr:
    """A computed value as it is stored: f16 and bf16 are computed in f32."""
    same = expr.dtype is dtype and (dtype.compute is dtype or isinstance(expr, Load))
    return expr if same else Cast(expr, dtype)


def _cast(expr: Expr, dtype: DType) -> Expr:
    return expr if expr.dtype is dtype else Cast(expr, dtype)


def _simplified(expr: Expr) -> Expr:
    """Subscripts in normal form."""
    inner = map_children(expr, _simplified)
    return simplify_index(inner) if inner.dtype is I64 else inner


def _axes_in(expr: Expr, extents: Mapping[str, Dim]) -> list[str]:
    used = used_names(expr)
    return [name for name in extents if name in used]


def _lone(
    load: Load, shape: Sequence[Dim], used: Sequence[Sequence[str]], extents: Mapping[str, Dim]
) -> list[int]:
    """The dimensions of a load that one axis alone runs through, and that only."""
    return [
        d
        for d, subscript in enumerate(load.indices)
        if isinstance(subscript, Var)
        and extents.get(subscript.name) == shape[d]
        and sum(subscript.name in names for names in used) == 1
    ]


def _names_in(formula: Formula) -> set[str]:
    """Every name in a formula: axes and sizes."""
    found = {n for axis in formula.axes for n in (axis.name, *symbols(axis.extent))}
    for expr in walk(formula.value):
        found |= used_names(expr)
        if isinstance(expr, Reduce):
            found |= {axis.name for axis in expr.axes}
    return found


def _usual_names(formula: Formula) -> Formula:
    """Axes called i, j, … and, in the reduction at the root, p, q, …"""
    root = formula.value
    while isinstance(root, Cast):
        root = root.x
    inner = root.axes if isinstance(root, Reduce) else ()
    old = [axis.name for axis in (*formula.axes, *inner)]
    names = Names()
    names.taken |= _names_in(formula) - set(old)
    outer = names.axes([axis.extent for axis in formula.axes])
    others = names.axes([axis.extent for axis in inner], "pqrstu")
    new = dict(zip(old, [axis.name for axis in (*outer, *others)], strict=True))
    return Formula(outer, _renamed(formula.value, new))


def _renamed(expr: Expr, names: Mapping[str, str]) -> Expr:
    if isinstance(expr, Var):
        return replace(expr, name=names.get(expr.name, expr.name))
    inner = map_children(expr, lambda child: _renamed(child, names))
    if isinstance(inner, Reduce):
        axes = tuple(replace(axis, name=names.get(axis.name, axis.name)) for axis in inner.axes)
        return replace(inner, axes=axes)
    return inner
