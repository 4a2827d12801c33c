"""Which ops of a graph are attention: a softmax between two contractions, and nothing else.

In: a graph and the kinds of its ops. Out: each op from the scores to the weights, with the
contraction that mixes by them.

    %s = contract(%q, %k)  %e = exp(…)  %p = div(%e, …)  %o = contract(%p, %v)
      →  {%s: %o, %e: %o, %p: %o}

Between the two, values have the scores' shape or that of their rows; reductions are along the rows;
nothing else reads what is between. Then a kernel can do it for a few rows at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.scalar import Load, Reduce, Var, index, loads
from stepwell.ir.size import Dim
from stepwell.lowering.fusion_group import root_reduction
from stepwell.lowering.fusion_kinds import Kinds

FAMILIES = ("attention", "attention_gradient")  # of kernels, which are called so
FEWEST = 4  # rows that fill a register tile
MOST = 2  # products whose results lie between: an attention has one, its gradient two
_PLAIN = frozenset({"broadcast", "reshape", "constant", "cast"})  # views that keep rows as they are


def attentions(finder: Finder) -> dict[Op, Op]:
    """Each op of an attention, the mixing contraction aside, with that contraction."""
    found: dict[Op, Op] = {}
    for op in finder.graph.ops:
        for inside in finder.between(op):
            found[inside] = op
    return found


def comparisons(graph: Graph, kinds: Kinds) -> frozenset[Op]:
    """The ops that compare positions, or combine that: made of nothing but iotas, constants and
    single elements. In an attention they tell what is hidden, and what need not be computed."""
    known = {value for value in graph.values() if value.type.elements == 1}
    found: set[Op] = set()
    for op in graph.ops:
        if op not in kinds or op.result.type.dtype.is_float or not known.issuperset(op.operands):
            continue
        if kinds[op] in ("view", "pointwise"):
            known.add(op.result)
        if kinds[op] == "pointwise":
            found.add(op)
    return frozenset(found)


@dataclass
class Finder:
    """Of one graph: what is computed along the rows of scores, and from which."""

    graph: Graph
    kinds: Kinds

    def __post_init__(self) -> None:
        self.producers: Mapping[Value, Op] = self.graph.producers()
        self.uses = self.graph.uses()
        self.results = set(self.graph.outcomes())

    def between(self, mix: Op) -> frozenset[Op]:
        """The ops of the attention that ends in `mix`; none where it ends none."""
        if not self.is_contraction(mix):
            return frozenset()
        weights = _summed_rows(self.kinds, mix)
        if weights is None:
            return frozenset()
        seen: set[Op] = set()
        scores = self.climb(weights, weights.type.shape, seen)
        if len(scores) != 1:
            return frozenset()
        inside = self.below(scores, seen)
        reduces = any(self.kinds[op] == "reduction" for op in inside)
        private = all(self._private(op, inside, mix) for op in inside)
        apart = all(self.keeps_rows_apart(op, inside) for op in inside - scores)
        return frozenset(inside) if reduces and private and apart else frozenset()

    def is_contraction(self, op: Op) -> bool:
        """Whether the op is a product that can be an attention's."""
        return op in self.kinds and self.kinds[op] == "contraction" and op.name == "contract"

    def climb(self, value: Value, shape: tuple[Dim, ...], seen: set[Op]) -> set[Op]:
        """The contractions of this shape that the value is computed from, along rows. More than
        MOST are as good as all: it is no attention."""
        found: set[Op] = set()
        waiting = deque([value])
        while waiting and len(found) <= MOST:
            op = self.producers.get(waiting.popleft())
            if op is None or op not in self.kinds or op in seen:
                continue
            if self.is_contraction(op):
                if op.result.type.shape == shape:
                    seen.add(op)
                    found.add(op)
            elif self.along_rows(op, shape):
                seen.add(op)
                waiting.extend(op.operands)
        return found

    def along_rows(self, op: Op, shape: tuple[Dim, ...]) -> bool:
        """Whether an op keeps each row of the scores to itself."""
        rows = (shape[:-1], (*shape[:-1], 1))
        if self.kinds[op] == "reduction":
            reduced = op.operands and op.operands[0].type.shape == shape
            if not reduced or op.result.type.shape not in rows:
                return False
            return root_reduction(self.kinds.formula(op)) is not None
        if op.result.type.shape not in (shape, *rows):
            return False
        return self.kinds[op] == "pointwise" or op.name in _PLAIN

    def below(self, scores: set[Op], seen: set[Op]) -> set[Op]:
        """The ops that depend on the scores."""
        inside = set(scores)
        for op in self.graph.ops:
            if op in seen and any(self.producers.get(v) in inside for v in op.operands):
                inside.add(op)
        return inside

    def keeps_rows_apart(self, op: Op, inside: set[Op]) -> bool:
        """Whether what is read of the scores is of the element's own row."""
        if op.name == "reshape":
            return True  # between shapes that differ in a last 1 only
        formula = self.kinds.formula(op)
        names = op.definition.operand_names(len(op.operands))
        own = {
            n for n, v in zip(names, op.operands, strict=True) if self.producers.get(v) in inside
        }
        rank = len(op.operands[0].type.shape) if self.kinds[op] == "reduction" else 0
        rows = [Var(axis.name) for axis in formula.axes][: max(rank, len(formula.axes)) - 1]
        return all(
            all(i == row or i == index(0) for i, row in zip(load.indices, rows, strict=False))
            for load in loads(formula.value)
            if load.buffer in own
        )

    def _private(self, op: Op, inside: set[Op], mix: Op) -> bool:
        value = op.result
        readers = self.uses.get(value, ())
        return value not in self.results and all(r in inside or r is mix for r in readers)


def _summed_rows(kinds: Kinds, mix: Op) -> Value | None:
    """The first factor of a contraction where its last axis alone is summed, and its rows are many;
    they are not the second factor's."""
    formula = kinds.formula(mix)
    reduction = root_reduction(formula)
    if not isinstance(reduction, Reduce) or len(reduction.axes) != 1 or len(mix.operands) != 2:
        return None
    first, second = _by_operand(mix, loads(reduction.body))
    if first is None or second is None or not first.indices:
        return None
    *outer, last = first.indices
    if last != Var(reduction.axes[0].name) or not outer or mix.operands[0] == mix.operands[1]:
        return None
    extents = {axis.name: axis.extent for axis in formula.axes}
    own = [i.name for i in outer if isinstance(i, Var) and i not in second.indices]
    rows = [extents[name] for name in own if extents.get(name, 1) != 1]
    if len(rows) != 1 or (isinstance(rows[0], int) and rows[0] < FEWEST):
        return None
    return mix.operands[0]


def _by_operand(op: Op, found: list[Load]) -> tuple[Load | None, Load | None]:
    names = op.definition.operand_names(len(op.operands))
    of = {load.buffer: load for load in found}
    return of.get(names[0]), of.get(names[1])
