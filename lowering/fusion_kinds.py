"""What fusion knows of each op before it places any: its kind, its cost, what it ends.

In: a graph. Out, per op: its kind

    view         moves or makes values: broadcast, reshape, transpose, slice, constant, iota, …
    pointwise    any other reduction-free formula
    reduction    a sum, maximum, … of rows
    contraction  a sum of products in which each factor is used again: contract, conv, einsum
    window       a reduction of windows: pooling, depthwise convolution, a stencil's sum
"""

from __future__ import annotations

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.scalar import (
    Binary,
    Cast,
    Expr,
    Formula,
    Load,
    Reduce,
    Var,
    loads,
    operations,
    variables,
    walk,
)
from stepwell.lowering.backward import backward_ops
from stepwell.lowering.fusion_group import root_reduction

VIEWS = frozenset(
    {
        *("constant", "iota", "dim", "broadcast", "reshape"),
        *("transpose", "slice", "reverse", "pad", "cast", "barrier"),
    }
)
ANCHORS = ("contraction", "window")  # what an epilogue follows
REDUCING = ("reduction", *ANCHORS)


class Kinds:
    """Kinds of a graph's ops; an op without one (array data, no formula) is not in here."""

    def __init__(self, graph: Graph) -> None:
        self._producers = graph.producers()
        self._formulas: dict[Op, Formula] = {}
        self._kinds: dict[Op, str] = {}
        self._anchors: dict[Value, Value] = {}
        self._followed: set[Value] = set()
        self._computed: set[Value] = set()
        self._of_rows: set[Value] = set()
        for op in graph.ops:
            formulas = () if _is_data(op) else op.formulas()
            if len(formulas) == 1:
                self._formulas[op] = formulas[0]
                self._kinds[op] = _kind(op, formulas[0])
        self._find_anchors(graph)

    def _find_anchors(self, graph: Graph) -> None:
        backward, elsewhere = backward_ops(graph), set(graph.outcomes())
        forward = {value for op in graph.ops if op not in backward for value in op.results}

        def is_saved_for(op: Op, value: Value) -> bool:
            return op in backward and value in forward

        for op in graph.ops:
            self._followed.update(op.operands)
        for op in graph.ops:
            elsewhere.update(v for v in self._astray(op) if not is_saved_for(op, v))
        self._followed -= elsewhere
        for op, kind in self._kinds.items():
            if kind in REDUCING or any(value in self._computed for value in op.operands):
                self._computed.add(op.result)
            if kind in ("view", "pointwise") and any(self._ends_rows(v) for v in op.operands):
                self._of_rows.add(op.result)
            if kind in ANCHORS:
                self._anchors[op.result] = op.result
            elif kind != "reduction":
                for value in op.operands:
                    ended = is_saved_for(op, value) or value not in self._followed
                    if not ended and value in self._anchors:
                        self._anchors[op.result] = self._anchors[value]

    def __contains__(self, op: Op) -> bool:
        return op in self._kinds

    def __getitem__(self, op: Op) -> str:
        return self._kinds[op]

    def formula(self, op: Op) -> Formula:
        return self._formulas[op]

    def cost(self, op: Op) -> int:
        """Simple operations per element."""
        return operations(self._formulas[op].value)

    def loads(self, op: Op) -> int:
        """Elements read per element."""
        return len(set(loads(self._formulas[op].value)))

    def words(self, op: Op) -> float:
        """What is read per element, in words of 32 bits: less for bytes and 16-bit floats."""
        return sum(_words(load.dtype) for load in set(loads(self._formulas[op].value)))

    def scalar_work(self, value: Value) -> int:
        """Simple operations that a scalar takes, with those for the scalars that it is made of."""
        seen: set[Op] = set()
        waiting, work = [value], 0
        while waiting:
            op = self._producers.get(waiting.pop())
            if op is None or op in seen or self._kinds.get(op) not in ("view", "pointwise"):
                continue
            seen.add(op)
            work += self.cost(op) + self.loads(op)
            waiting += [operand for operand in op.operands if operand.type.rank == 0]
        return work

    def anchor(self, value: Value) -> Value | None:
        """The contraction or window reduction that the value is an epilogue of: from it to the
        value, every op reads at its own element and nothing else needs what is between. What a
        backward pass reads of the forward pass was stored: it is no epilogue there."""
        return self._anchors.get(value)

    def ends(self, value: Value) -> bool:
        """Whether the value ends what follows a contraction or window: then it is stored."""
        return value in self._anchors and value not in self._followed

    def _ends_rows(self, value: Value) -> bool:
        """Whether the value is a reduction's, of more than one element, or made of such."""
        op = self._producers.get(value)
        reduces = op is not None and self._kinds.get(op) == "reduction"
        return value in self._of_rows or (reduces and value.type.elements != 1)

    def follows(self, value: Value) -> bool:
        """Whether the value is an epilogue, or made of what rows are reduced to, as a softmax is:
        its kernel is that of the contraction or the reduction."""
        return value in self._anchors or value in self._of_rows

    def computed(self, value: Value) -> bool:
        """Whether a reduction or contraction is somewhere above the value."""
        return value in self._computed

    def _astray(self, op: Op) -> set[Value]:
        """The operands that an op reads elsewhere than at its own element, or to reduce them."""
        if self._kinds.get(op) not in ("view", "pointwise"):
            return set(op.operands)
        formula = self._formulas[op]
        names = op.definition.operand_names(len(op.operands))
        values = dict(zip(names, op.operands, strict=True))
        axes = {axis.name for axis in formula.axes if axis.extent != 1}
        return {
            values[load.buffer]
            for load in loads(formula.value)
            if not axes <= {index.name for index in load.indices if isinstance(index, Var)}
        }


def words(value: Value) -> float:
    """How many words of 32 bits an element moves through memory. Wider ones count as one: they
    take as many more instructions, too."""
    return _words(value.type.dtype)


def _words(dtype: DType) -> float:
    return min(1.0, max(8, dtype.bits) / 32)


def _is_data(op: Op) -> bool:
    return op.name == "constant" and isinstance(op.attributes["value"], np.ndarray)


def _kind(op: Op, formula: Formula) -> str:
    reduction = root_reduction(formula)
    if reduction is None:
        return "view" if op.name in VIEWS else "pointwise"
    if op.name in ("window_max", "window_sum"):
        return "window"
    if op.name == "conv" and _depthwise(op):
        return "window"
    return "contraction" if op.name == "conv" else _reduction_kind(formula, reduction)


def _depthwise(op: Op) -> bool:
    return op.attributes["groups"] != 1 and op.operands[1].type.shape[1] == 1


def _reduction_kind(formula: Formula, reduce: Reduce) -> str:
    """A contraction is a sum of products, each factor without some index of the result; a window
    mixes an index of the result with a reduced one in a subscript."""
    axes = {axis.name for axis in formula.axes if axis.extent != 1}
    factors = _factors(reduce.body)
    products = reduce.kind == "sum" and factors and reduce.body.dtype.is_float
    if products and all(axes - _used(factor) for factor in factors):
        return "contraction"
    reduced = {axis.name for axis in reduce.axes}
    for load in loads(reduce.body):
        for subscript in load.indices:
            used = variables(subscript)
            if used & reduced and used & axes and not loads(subscript):
                return "window"
    return "reduction"


def _factors(body: Expr) -> tuple[Load, ...]:
    """The two loads of a product, casts aside; nothing for any other body."""
    match body:
        case Cast(x=x):
            return _factors(x)
        case Binary(op="mul", x=x, y=y):
            found = tuple(_plain_load(e) for e in (x, y))
            return tuple(load for load in found if load) if all(found) else ()
    return ()


def _plain_load(expr: Expr) -> Load | None:
    while isinstance(expr, Cast):
        expr = expr.x
    return expr if isinstance(expr, Load) else None


def _used(load: Load) -> frozenset[str]:
    return frozenset(e.name for index in load.indices for e in walk(index) if isinstance(e, Var))
