"""Decomposition: index formulas into ops with at most one reduction each, at the root.

    %y = index(%x) {[n] -> log(sum[k] exp(x0[n, k]))}

    %y_sum = index(%x) {[n] -> sum[k] exp(x0[n, k])}
    %y = index(%y_sum) {[n] -> log(x0[n])}

How formulas are split is in `ir/graph/splitting.py`. One that is the sum of a product of two plain
reads becomes a `contract`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_letters
from typing import ClassVar

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.graph.rewrite import Editor, rewrite
from stepwell.ir.graph.splitting import is_split, split
from stepwell.ir.scalar import (
    Binary,
    Cast,
    Expr,
    Formula,
    Load,
    Reduce,
    Var,
)
from stepwell.ir.size import Dim


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
    return None if is_split(formula) else [split(op, editor)]


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
