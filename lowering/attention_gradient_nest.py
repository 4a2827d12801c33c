"""The naive nest of attention's gradient: one go over the rows of the scores.

In: the region of a kernel (`attention_gradients.py` says what it consists of). Out: loops.

    for n { for h {
      for j, d { dk_sum[j, d] = 0.0 }                           likewise dv_sum
      for i {
        for j { s_row[j] = q[n, i, h, :] · k[n, j, h, :] }      likewise dp_row
        …softmax, and the sum of its row that its gradient needs…
        for j { p_row[j] = …;  ds_row[j] = … }
        for d { dq[n, i, h, d] = ds_row[:] · k[n, :, h, d] }
        for j, d { dk_sum[j, d] = dk_sum[j, d] + ds_row[j] * q[n, i, h, d] }
      }
      for j, d { dk[n, j, h, d] = dk_sum[j, d] }
    } }

Nothing has more than a row of scores at a time; what is added up over the rows is in scratch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from stepwell.ir.graph.core import Op, Value
from stepwell.ir.loop.core import Alloc, Buffer, Statement, Store
from stepwell.ir.scalar import Binary, Expr, Load, Reduce, Var, identity, map_children
from stepwell.ir.size import Dim
from stepwell.lowering.attention_gradients import AttentionGradient, Factor, attention_gradients
from stepwell.lowering.attentions import Finder
from stepwell.lowering.fusion_group import root_reduction
from stepwell.lowering.fusion_kinds import Kinds
from stepwell.lowering.kernel_nest import Nest, Site
from stepwell.lowering.nest_levels import Row
from stepwell.lowering.survey import Survey


@dataclass(frozen=True)
class _Sum:
    """A product that adds up over the rows, and the scratch for one batch of it."""

    op: Op
    factor: Factor
    reduce: Reduce
    buffer: Buffer
    outer: Mapping[str, Expr]  # the loops around that its axes are


class AttentionGradientNest(Nest):
    """A nest over rows that gives all of the gradients; see the module's docstring."""

    def run(self) -> tuple[Statement, ...]:
        found = attention_gradients(Finder(self.region, Kinds(self.region)))
        results = {value for _, value in self.region.results}
        if len(found) != 1 or results != {op.result for op in (found[0].rows, *found[0].sums)}:
            return super().run()
        self._gradients(found[0])
        return tuple(self.levels[0].body)

    def _gradients(self, found: AttentionGradient) -> None:
        factor, axes = found.factors[found.rows], found.rows.formulas()[0].axes
        names = {axis.name: self.fresh(axis.name) for axis in axes}
        extents = {names[axis.name]: axis.extent for axis in axes}
        outer = [names[name] for name in factor.axes[:-1]]
        row = outer[found.row]
        self.rows = self._kept(found, list(names.values()))
        sums = [self._sum(found, op, outer) for op in found.sums]
        for buffer in (*(kept.buffer for kept in self.rows.values()), *(s.buffer for s in sums)):
            self.emit(Alloc(buffer, self.span))
        with ExitStack() as loops:
            for name in (name for name in outer if name != row):
                loops.enter_context(self.loop(name, extents[name]))
            for each in sums:
                self._clear(each)
            with self.loop(row, extents[row]):
                self._row(found, tuple(Var(name) for name in outer))
                with self.loop(names[factor.own], extents[names[factor.own]]):
                    result, place = found.rows.result, tuple(Var(name) for name in names.values())
                    self._store(self._output(result), result, place)
                for each in sums:
                    self._add(each)
            for each in sums:
                self._finish(each)

    def _kept(self, found: AttentionGradient, names: list[str]) -> dict[Value, Row]:
        """Rows of scratch: of the products, of what other products read, of what is costly."""
        survey = Survey(self.producers, [found.rows.result], names)
        self.reductions = [r for r in survey.reductions if r[0] != found.rows.result]
        last = (len(found.scores[0].result.type.shape) - 1,)
        places = dict(survey.shared_rows())
        places |= {op.result: last for op in found.scores}
        places |= {factor.value: last for factor in found.factors.values()}
        kept = {}
        for value, place in places.items():
            shape = tuple(value.type.shape[i] for i in place)
            name = self.fresh(f"{value.name.rsplit('.', 1)[-1]}_row")
            kept[value] = Row(Buffer(name, value.type.dtype, shape, "scratch"), place)
        return kept

    def _row(self, found: AttentionGradient, at: tuple[Expr, ...]) -> None:
        """What is kept of one row: products, softmax, what the other products read."""
        for op in found.scores:
            self._fill([op.result], at)
        for value, subscripts in self.reductions:
            self.read(value, subscripts, None)
        weights = dict.fromkeys(factor.value for factor in found.factors.values())
        self._fill([value for value in weights if not self.rows[value].stored], at)

    def _fill(self, values: list[Value], at: tuple[Expr, ...]) -> None:
        """A loop along the row in which the values are kept."""
        if values:
            name = self.fresh("j")
            with self.loop(name, values[0].type.shape[-1]) as column:
                for value in values:
                    self.read(value, (*at, column), None)

    def _output(self, value: Value) -> str:
        return self.outputs[[v for _, v in self.region.results].index(value)]

    # ------------------------------------------------------------------ sums over the rows

    def _sum(self, found: AttentionGradient, op: Op, outer: list[str]) -> _Sum:
        factor, formula = found.factors[op], op.formulas()[0]
        reduce = root_reduction(formula)
        assert isinstance(reduce, Reduce)
        extents = {axis.name: axis.extent for axis in formula.axes}
        shape: tuple[Dim, ...] = (extents[factor.lacking], extents[factor.own])
        name = self.fresh(f"{op.result.name.rsplit('.', 1)[-1]}_sum")
        buffer = Buffer(name, reduce.body.dtype, shape, "scratch")
        around = {axis: Var(name) for axis, name in zip(factor.axes[:-1], outer, strict=True)}
        return _Sum(op, factor, reduce, buffer, around)

    def _loops(self, each: _Sum, loops: ExitStack) -> dict[str, Expr]:
        """Loops over the scratch; what all axes are in them."""
        axes = zip((each.factor.lacking, each.factor.own), each.buffer.shape, strict=True)
        inner = {axis: loops.enter_context(self.loop(self.fresh(axis), n)) for axis, n in axes}
        return {**each.outer, **inner}

    def _clear(self, each: _Sum) -> None:
        with ExitStack() as loops:
            self._keep_sum(each, self._loops(each, loops), identity("sum", each.buffer.dtype))

    def _add(self, each: _Sum) -> None:
        operands = dict(zip(each.op.definition.operand_names(2), each.op.operands, strict=True))
        with ExitStack() as loops:
            axes = self._loops(each, loops)
            _, term = self.term(each.reduce, Site(axes, operands, None, each.op.result))
            self._keep_sum(each, axes, Binary("add", self._so_far(each, axes), term))

    def _keep_sum(self, each: _Sum, axes: Mapping[str, Expr], value: Expr) -> None:
        place = (axes[each.factor.lacking], axes[each.factor.own])
        self.emit(Store(each.buffer.name, place, value, each.op.span))

    def _so_far(self, each: _Sum, axes: Mapping[str, Expr]) -> Expr:
        place = (axes[each.factor.lacking], axes[each.factor.own])
        return Load(each.buffer.name, place, each.buffer.dtype)

    def _finish(self, each: _Sum) -> None:
        formula = each.op.formulas()[0]
        with ExitStack() as loops:
            axes = self._loops(each, loops)
            value = _with_sum(formula.value, self._so_far(each, axes))
            place = tuple(axes[axis.name] for axis in formula.axes)
            self.emit(Store(self._output(each.op.result), place, value, each.op.span))


def _with_sum(value: Expr, total: Expr) -> Expr:
    """A formula's value, casts, with its sum put in."""
    if isinstance(value, Reduce):
        return total
    return map_children(value, lambda e: _with_sum(e, total))
