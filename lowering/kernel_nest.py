"""One fused kernel to its naive nest.

In: the region of a `kernel` op. Out: a loop-IR `Kernel`. Nothing here knows an operator: each op's
body is a formula, and everything follows from composing formulas.

1. Reduction-free ops are inlined: a read of their result at some subscripts is their formula at
   those subscripts. Each becomes a `let`, at the outermost loop where its indices exist, once.
2. A reduction read at subscripts `(i, 0)` is computed in the loops of `i`, before its reader:
   an accumulator register and a nest over its own axes. The indices by which reductions are read
   are the *row* indices: their loops go outside, so that softmax is one loop over rows.
3. A costly value read by several stages (the `exp` of a softmax) is stored in a row of scratch by
   the first stage that computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from stepwell.ir.dtypes import I64
from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.loop.core import (
    Alloc,
    Buffer,
    Check,
    Let,
    Statement,
    Store,
)
from stepwell.ir.ranges import Ranges, index_dim, simplify, within
from stepwell.ir.scalar import (
    COMBINE,
    Binary,
    Const,
    Expr,
    Load,
    Reduce,
    Select,
    Unary,
    Var,
    from_dim,
    identity,
    index,
    map_children,
    walk,
)
from stepwell.ir.size import Dim, symbol
from stepwell.lowering.nest_levels import Levels, Row
from stepwell.lowering.parts import joined_by
from stepwell.lowering.survey import Survey, always, never


@dataclass(frozen=True)
class Site:
    """Where a formula is used: what its axes are, its operands, under which guard, for what."""

    environment: Mapping[str, Expr]
    operands: Mapping[str, Value]
    guard: Expr | None
    value: Value

    def inside(self, environment: Mapping[str, Expr], guard: Expr | None = None) -> Site:
        """The same, with more axes known, and under a further guard."""
        return replace(self, environment=environment, guard=_and(self.guard, guard))


class Nest(Levels):
    """The naive nest of a region; see the module's docstring."""

    def __init__(self, region: Graph) -> None:
        super().__init__({value.name for value in region.inputs})
        self.region = region
        self.producers: dict[Value, Op] = region.producers()
        self.inputs = set(region.inputs)
        self.outputs = [self.fresh(name) for name, _ in region.results]

    # ------------------------------------------------------------------ the kernel

    def run(self) -> tuple[Statement, ...]:
        groups: dict[tuple[Dim, ...], list[int]] = {}
        for i, (_, value) in enumerate(self.region.results):
            groups.setdefault(value.type.shape, []).append(i)
        whole = max(groups, key=_axes)
        rows = [i for shape, members in groups.items() if shape != whole for i in members]
        for left in self._results(whole, groups[whole], rows):
            self._results(self.region.results[left][1].type.shape, [left], [])
        return tuple(self.levels[0].body)

    def _results(self, shape: tuple[Dim, ...], members: list[int], rows: list[int]) -> list[int]:
        """One nest for all results of one shape, which stores those of its rows; one per part where
        they are made of parts joined. Which of `rows` are still to be stored."""
        values = [self.region.results[i][1] for i in members]
        op = joined_by(self.producers, values)
        if op is None:
            return self._nest(values, members, shape, (0,) * len(shape), rows)
        axis: int = op.attributes["axis"]
        start: list[Dim] = [0] * len(shape)
        for part in op.operands:
            if part.type.shape[axis] != 0:
                self._nest(values, members, part.type.shape, tuple(start), [])
            start[axis] = start[axis] + part.type.shape[axis]
        return rows

    def _nest(
        self, values: list[Value], members: list[int], shape: tuple[Dim, ...],
        start: tuple[Dim, ...], rows: list[int],
    ) -> list[int]:  # fmt: skip
        """Row loops outside, then the rest, over so many elements of the values from `start` on. Of
        the results `rows` those that number the rows, by the row loops; the other ones are given
        back."""
        op = self.producers.get(values[0])
        names = [self.fresh(hint) for hint in axis_names(op, len(shape))]
        survey = Survey(self.producers, values, names)
        self.rows = {}
        for value, kept in survey.shared_rows().items():
            dims = tuple(value.type.shape[i] for i in kept)
            name = self.fresh(f"{_plain(value.name)}_row")
            buffer = Buffer(name, value.type.dtype, dims, "scratch")
            self.rows[value] = Row(buffer, kept)
            self.emit(Alloc(buffer, self.producers[value].span))
        order = [n for n in names if n in survey.row_names]
        self.span = op.span if op else None
        extents = dict(zip(names, shape, strict=True))
        places = {i: survey.row_place(self.region.results[i][1]) for i in rows}
        with ExitStack() as loops:
            for name in order:
                loops.enter_context(self.loop(name, extents[name]))
            for value, subscripts in survey.reductions:
                self.read(value, subscripts, None)
            for member, row in places.items():
                if row is not None:
                    self._store(self.outputs[member], self.region.results[member][1], row)
            for name in names:
                if name not in order:
                    loops.enter_context(self.loop(name, extents[name]))
            at = tuple(from_dim(symbol(n) + d) for n, d in zip(names, start, strict=True))
            for value, member in zip(values, members, strict=True):
                self._store(self.outputs[member], value, at)
        return [member for member, row in places.items() if row is None]

    def _store(self, output: str, value: Value, at: tuple[Expr, ...]) -> None:
        expr = self.read(value, at, None)
        op = self.producers.get(value)
        self.emit(Store(output, at, expr, op.span if op else None))

    # ------------------------------------------------------------------ reading values

    def read(self, value: Value, subscripts: tuple[Expr, ...], guard: Expr | None) -> Expr:
        """The value at subscripts, as an expression usable at the innermost level."""
        subscripts = tuple(simplify(s, self.ranges) for s in subscripts)
        if value in self.inputs:
            return self._load(value, subscripts, guard)
        row = self.rows.get(value)
        if row is not None and row.stored:
            kept = tuple(subscripts[i] for i in row.kept)
            return Load(row.buffer.name, kept, value.type.dtype, guard)
        with self.at_home((*subscripts, guard)):
            memo = self.levels[-1].memo
            key = (value, subscripts, guard)
            if key not in memo:
                memo[key] = self._compute(value, subscripts, guard)
            return memo[key]

    def _compute(self, value: Value, subscripts: tuple[Expr, ...], guard: Expr | None) -> Expr:
        """Emit what computes the value at this level; the expression that holds it."""
        op = self.producers[value]
        formula = op.formulas()[op.results.index(value)]
        names = op.definition.operand_names(len(op.operands))
        operands = dict(zip(names, op.operands, strict=True))
        environment = {a.name: s for a, s in zip(formula.axes, subscripts, strict=True)}
        outer, self.span = self.span, op.span or self.span
        expr = self._expand(formula.value, Site(environment, operands, guard, value))
        if not isinstance(expr, (Const, Var, Load)):
            name = self.fresh(_plain(value.name))
            self.emit(Let(name, expr, self.span))
            expr = Var(name, expr.dtype)
        row = self.rows.get(value)
        if row is not None and guard is None and row.open is None:
            expr = self._keep(value, row, subscripts, expr)
        self.span = outer
        return expr

    def _keep(self, value: Value, row: Row, subscripts: tuple[Expr, ...], expr: Expr) -> Expr:
        """Store a shared value where the loops around run over all of its row. What holds it then:
        of a reduction that is its place in the row, so that its loop may be cut behind it."""
        ranges = self.ranges
        indices: set[str] = set()
        for i in row.kept:
            subscript = subscripts[i]
            if not isinstance(subscript, Var) or ranges.get(subscript.name) != value.type.shape[i]:
                return expr
            indices.add(subscript.name)
        if len(indices) != len(row.kept):
            return expr
        kept = tuple(subscripts[i] for i in row.kept)
        self.emit(Store(row.buffer.name, kept, expr, self.span))
        row.open = indices
        return Load(row.buffer.name, kept, expr.dtype) if isinstance(expr, Load) else expr

    def _load(self, value: Value, subscripts: tuple[Expr, ...], guard: Expr | None) -> Expr:
        """A load; data-dependent subscripts are checked, and guarded against leaving their axis.

        A guard is kept only where the subscripts might leave the buffer without it.
        """
        shape, ranges = value.type.shape, self.ranges
        if guard is not None and all(
            (dim := index_dim(s, ranges)) is not None and within(dim, extent, ranges)
            for s, extent in zip(subscripts, shape, strict=True)
        ):
            guard = None
        for subscript, extent in zip(subscripts, shape, strict=True):
            if _is_data(subscript, ranges):
                guard = self._check(subscript, extent, guard)
        return Load(value.name, subscripts, value.type.dtype, guard)

    def _check(self, subscript: Expr, extent: Dim, guard: Expr | None) -> Expr:
        """Emit a check that the subscript is on its axis; the guard that the load then needs."""
        low, high = Binary("le", index(0), subscript), Binary("lt", subscript, from_dim(extent))
        inside: Expr = Binary("and", low, high)
        needed = inside if guard is None else Binary("or", Unary("not", guard), inside)
        with self.at_home((needed,)):
            key = ("check", needed)
            if key not in self.levels[-1].memo:
                self.levels[-1].memo[key] = inside
                message = f"an index is outside its axis of size {extent}"
                self.emit(Check(needed, message, self.span))
        return inside if guard is None else Binary("and", guard, inside)

    def _expand(self, expr: Expr, site: Site) -> Expr:
        """A formula's expression with its axes replaced, its loads and reductions done."""

        def expand(e: Expr) -> Expr:
            return self._expand(e, site)

        match expr:
            case Var(name=name):
                return site.environment.get(name, expr)
            case Load(buffer=buffer, indices=indices, guard=own):
                own = None if own is None else self._unless_sure(expand(own))
                at = tuple(expand(i) for i in indices)
                read = self.read(site.operands[buffer], at, _and(site.guard, own))
                if own is None or (isinstance(read, Load) and read.guard is not None):
                    return read
                zero = read.dtype.plain(0)  # a guarded load is 0 outside its guard
                return Select(own, read, Const(zero, read.dtype))
            case Reduce():
                return self._reduce(expr, site)
            case Select(condition=condition, x=x, y=y):
                chosen = expand(condition)
                if always(chosen, self.ranges):
                    return expand(x)
                if never(chosen, self.ranges):
                    return expand(y)
                return Select(chosen, expand(x), expand(y))
            case _:
                new = map_children(expr, expand)
                return simplify(new, self.ranges) if new.dtype == I64 else new

    def _unless_sure(self, guard: Expr) -> Expr | None:
        """None where the guard holds throughout the current loops."""
        return None if always(guard, self.ranges) else guard

    # ------------------------------------------------------------------ reductions

    def _reduce(self, reduce: Reduce, site: Site) -> Expr:
        """An accumulator and its nest, at the innermost level; then a load of the accumulator."""
        name = self.fresh(_plain(site.value.name))
        if reduce.kind in ("argmax", "argmin"):
            return self._arg_reduce(reduce, name, site)
        dtype = reduce.body.dtype
        accumulator = Load(name, (), dtype)
        self.emit(Alloc(Buffer(name, dtype, (), "register"), self.span))
        self.emit(Store(name, (), identity(reduce.kind, dtype), self.span))
        with ExitStack() as loops:
            inner = self._reduction_loops(reduce, site, loops)
            own, term = self.term(reduce, inner)
            if own is not None:
                term = Select(own, term, identity(reduce.kind, dtype))
            combined = Binary(COMBINE[reduce.kind], accumulator, term)
            self.emit(Store(name, (), combined, self.span))
        return accumulator

    def _reduction_loops(self, reduce: Reduce, site: Site, loops: ExitStack) -> Site:
        inner = dict(site.environment)
        for axis in reduce.axes:
            inner[axis.name] = loops.enter_context(self.loop(self.fresh(axis.name), axis.extent))
        return site.inside(inner)

    def term(self, reduce: Reduce, site: Site) -> tuple[Expr | None, Expr]:
        """The reduction's own guard, where it is not sure to hold, and the term."""
        own = None
        if reduce.guard is not None:
            own = self._unless_sure(self._expand(reduce.guard, site))
        term = self._expand(reduce.body, site.inside(site.environment, own))
        return own, term

    def _arg_reduce(self, reduce: Reduce, name: str, site: Site) -> Expr:
        """The first position of the extreme value; NaN counts as more extreme than any number."""
        dtype = reduce.body.dtype
        kind = reduce.kind.removeprefix("arg")
        best_name = self.fresh(f"{name}_best")
        position, best = Load(name, (), I64), Load(best_name, (), dtype)
        self.emit(Alloc(Buffer(best_name, dtype, (), "register"), self.span))
        self.emit(Alloc(Buffer(name, I64, (), "register"), self.span))
        self.emit(Store(best_name, (), identity(kind, dtype), self.span))
        self.emit(Store(name, (), index(0), self.span))
        with ExitStack() as loops:
            inner = self._reduction_loops(reduce, site, loops)
            own, term = self.term(reduce, inner)
            better: Expr = Binary("gt" if kind == "max" else "lt", term, best)
            if dtype.is_float:
                nan = Binary("and", Unary("is_nan", term), Unary("not", Unary("is_nan", best)))
                better = Binary("or", better, nan)
            if own is not None:
                better = Binary("and", own, better)
            chosen_name = self.fresh(f"{name}_better")
            self.emit(Let(chosen_name, better, self.span))
            chosen = Var(chosen_name, better.dtype)
            at = inner.environment[reduce.axes[0].name]
            self.emit(Store(name, (), Select(chosen, at, position), self.span))
            self.emit(Store(best_name, (), Select(chosen, term, best), self.span))
        return position


def _axes(shape: tuple[Dim, ...]) -> int:
    return sum(extent != 1 for extent in shape)


def _plain(name: str) -> str:
    """A value's name as the name of a scalar: the last part of a path."""
    return name.rsplit(".", 1)[-1]


def _is_data(subscript: Expr, ranges: Ranges) -> bool:
    """Whether a subscript depends on what some buffer holds."""
    return any(
        isinstance(e, Load) or (isinstance(e, Var) and ranges.get(e.name, 0) is None)
        for e in walk(subscript)
    )


def _and(left: Expr | None, right: Expr | None) -> Expr | None:
    if left is None or right is None:
        return left if right is None else right
    return left if left == right else Binary("and", left, right)


def axis_names(op: Op | None, rank: int) -> list[str]:
    """Names for the result's axes: those of its formula, where it has one."""
    if op is not None:
        formula = op.formulas()[0]
        if len(formula.axes) == rank:
            return [axis.name for axis in formula.axes]
    return [f"i{i}" for i in range(rank)]
