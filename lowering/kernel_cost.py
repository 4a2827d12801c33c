"""What a kernel computes, counted: for reports and rooflines.

x @ w + b on [N, 64] and [64, 10]   →   1290*N operations
"""

from __future__ import annotations

from stepwell.ir.graph.core import Graph
from stepwell.ir.scalar import Binary, Expr, Load, Reduce, Unary, children
from stepwell.ir.size import Dim, product


def flops(region: Graph) -> Dim:
    """Arithmetic operations of a region: one per operator application, transcendental or not."""
    total: Dim = 0
    for op in region.ops:
        for formula in op.formulas():
            total = total + _flops(formula.value, product([a.extent for a in formula.axes]))
    return total


def _flops(expr: Expr, times: Dim) -> Dim:
    if isinstance(expr, Reduce):
        inner = times * product([axis.extent for axis in expr.axes])
        return inner + _flops(expr.body, inner)
    total: Dim = 0
    if isinstance(expr, (Unary, Binary)) and expr.dtype.is_float:
        total = times
    for child in () if isinstance(expr, Load) else children(expr):
        total = total + _flops(child, times)
    return total
