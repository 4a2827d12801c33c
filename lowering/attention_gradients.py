"""Which ops of a graph are the gradient of attention: what lies between its scores and the
gradients of queries, keys and values.

In: a graph and the kinds of its ops. Out: an `AttentionGradient` each.

    %s  = contract(%q, %k)    %p  = softmax of %s's rows              scores
    %dp = contract(%do, %v)   %ds = mul(%p, sub(%dp, %delta))         scores
    %dq = contract(%ds, %k)                                           rows
    %dk = contract(%ds, %q)   %dv = contract(%p, %do)                 sums

All between has the scores' shape or that of their rows, as in `attentions.py`. `rows` gives a row
of its result for each row of the scores, each of the `sums` adds up over the rows: so a kernel can
do all of it for a few rows at a time. While the attention's own `mix` reads the weights, too, they
have to be in memory; `recompute_attentions` computes them again, and then there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stepwell.ir.graph.core import Op, Value
from stepwell.ir.scalar import Load, Reduce, Var, loads
from stepwell.lowering.attentions import FEWEST, Finder
from stepwell.lowering.fusion_group import root_reduction


@dataclass(frozen=True)
class Factor:
    """How a product reads a value between: the names of its axes, by position, which of them is
    summed and which the other factor lacks; `own` is the one that this factor lacks."""

    value: Value
    axes: tuple[str, ...]
    summed: str
    lacking: str
    own: str


@dataclass(frozen=True)
class AttentionGradient:
    """See the module's docstring. `row` is the position of the rows among the scores' axes;
    `forward` are the ops of `inside` from which the attention's `mix` is computed."""

    inside: frozenset[Op]
    scores: tuple[Op, ...]
    rows: Op
    sums: tuple[Op, ...]
    factors: dict[Op, Factor]
    row: int
    mix: Op | None
    forward: frozenset[Op]

    @property
    def ops(self) -> frozenset[Op]:
        """All that one kernel computes."""
        return self.inside | {self.rows, *self.sums}


def attention_gradients(finder: Finder) -> list[AttentionGradient]:
    """The gradients of attentions in the graph."""
    ends = map(_GradientFinder(finder).ending_in, finder.graph.ops)
    return [found for found in ends if found is not None]


@dataclass(frozen=True)
class _GradientFinder:
    finder: Finder

    def ending_in(self, rows: Op) -> AttentionGradient | None:
        """The one whose rows are this op; None where there is none."""
        for value in rows.operands if self.finder.is_contraction(rows) else ():
            factor = self._factor(rows, value)
            row = _row_of(factor)
            if factor is None or row is None:
                continue
            seen: set[Op] = set()
            scores = self.finder.climb(value, value.type.shape, seen)
            if len(scores) == 2:
                return self._around(rows, row, factor, scores, self.finder.below(scores, seen))
        return None

    def _around(
        self, rows: Op, row: int, factor: Factor, scores: set[Op], inside: set[Op]
    ) -> AttentionGradient | None:
        ends = self._ends(inside, factor.value)
        if ends is None:
            return None
        mixes = [op for op in ends if op is not rows and self._is_mix(op, scores)]
        sums = tuple(op for op in ends if op is not rows and op not in mixes)
        factors = {rows: factor} | {op: f for op in sums if (f := self._sum(op, inside, row))}
        if not sums or len(factors) <= len(sums) or len(mixes) > 1:
            return None
        if not self._stands_alone(inside, scores, {rows, *sums}):
            return None
        ordered = tuple(op for op in self.finder.graph.ops if op in scores)
        forward = [op for mix in mixes for op in self._above(mix, inside)]
        mix = mixes[0] if mixes else None
        return AttentionGradient(
            frozenset(inside), ordered, rows, sums, factors, row, mix, frozenset(forward)
        )

    def _ends(self, inside: set[Op], like: Value) -> list[Op] | None:
        """The products that read what is between, to which all is added that reads it along the
        rows; None where it is read in another way."""
        ends: list[Op] = []
        computed = {op.result for op in inside}
        for op in self.finder.graph.ops:
            if op in inside or computed.isdisjoint(op.operands):
                continue
            if self.finder.is_contraction(op):
                ends.append(op)
            elif op in self.finder.kinds and self.finder.along_rows(op, like.type.shape):
                inside.add(op)
                computed.add(op.result)
            else:
                return None
        return ends

    def _is_mix(self, op: Op, scores: set[Op]) -> bool:
        """Whether the op mixes rows by weights that depend on one product: a forward pass."""
        weights = op.operands[0]
        if _row_of(self._factor(op, weights)) is None:
            return False
        found = self.finder.climb(weights, weights.type.shape, set())
        return len(found) == 1 and found < scores

    def _above(self, mix: Op, inside: set[Op]) -> Iterator[Op]:
        """What is between the scores and the weights of an attention."""
        seen: set[Op] = set()
        self.finder.climb(mix.operands[0], mix.operands[0].type.shape, seen)
        yield from seen & inside

    def _sum(self, op: Op, inside: set[Op], row: int) -> Factor | None:
        """How a sum over the rows reads what is between."""
        computed = {o.result for o in inside}
        (value, *others) = sorted(set(op.operands), key=lambda v: v not in computed)
        factor = self._factor(op, value)
        if factor is None or len(others) != 1 or others[0] in computed:
            return None
        over_rows = factor.axes[row] == factor.summed and factor.axes[-1] == factor.lacking
        return factor if over_rows else None

    def _factor(self, op: Op, value: Value) -> Factor | None:
        """How a product with one summed axis reads this factor; None where it has another form."""
        reduction = root_reduction(self.finder.kinds.formula(op))
        if not isinstance(reduction, Reduce) or len(reduction.axes) != 1:
            return None
        operands = dict(zip(op.definition.operand_names(2), op.operands, strict=True))
        read = [(operands[load.buffer], _axes(load)) for load in loads(reduction.body)]
        mine, other = sorted(read, key=lambda pair: pair[0] != value)
        lacking = [name for name in mine[1] if name not in other[1]]
        own = [name for name in other[1] if name not in mine[1]]
        summed = reduction.axes[0].name
        if len(lacking) != 1 or len(own) != 1 or summed in lacking + own:
            return None
        return Factor(value, mine[1], summed, lacking[0], own[0])

    def _stands_alone(self, inside: set[Op], scores: set[Op], ends: set[Op]) -> bool:
        """Whether what is between keeps rows apart and is no result; no operand needs an end."""
        finder = self.finder
        if not any(finder.kinds[op] == "reduction" for op in inside):
            return False
        if any(op.result in finder.results for op in inside):
            return False
        if not all(finder.keeps_rows_apart(op, inside) for op in inside - scores):
            return False
        after: set[Value] = set()
        for op in finder.graph.ops:
            late = not after.isdisjoint(op.operands)
            if late and (op in inside or op in ends):
                return False
            if late or op in ends:
                after.update(op.results)
        return True


def _axes(load: Load) -> tuple[str, ...]:
    return tuple(index.name for index in load.indices if isinstance(index, Var))


def _row_of(factor: Factor | None) -> int | None:
    """The position of the axis of rows, where the last one is summed and rows are many."""
    if factor is None or factor.axes[-1] != factor.summed:
        return None
    row = factor.axes.index(factor.lacking)
    extent = factor.value.type.shape[row]
    return None if isinstance(extent, int) and extent < FEWEST else row
