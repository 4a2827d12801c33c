"""Coarsen a parameter: neighbouring dimensions as one, for arrays are dense.

    y[i, j, c] of f32[6, 7, 32]   coarsen to f32[42, 32]   →   y[7*i + j, c]

Legal always. So nests that see an array in different shapes stand in one kernel: each sees it in
the finest shape that is coarser than all of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepwell.ir.graph.body import arithmetic
from stepwell.ir.loop.analysis import map_expressions, map_statements
from stepwell.ir.loop.core import Kernel, Statement, Store
from stepwell.ir.scalar import Expr, Load, index
from stepwell.ir.size import Dim, product
from stepwell.lowering.transforms.navigate import rewrite

Shape = tuple[Dim, ...]


def common_shape(shapes: Sequence[Shape]) -> Shape:
    """The finest shape whose dimensions are neighbouring ones of each of the shapes together,
    without those of size 1. No dimension may be 0."""
    first, *others = shapes
    places = [_places(shape) for shape in others]
    found: list[Dim] = []
    group: list[Dim] = []
    for position, dim in reversed(list(enumerate(first))):
        group.insert(0, dim)
        if all(product(first[position:]) in others for others in places):
            found.insert(0, product(group))
            group = []
    return tuple(dim for dim in found if dim != 1)


def _places(shape: Shape) -> list[Dim]:
    """How many elements lie behind each boundary between dimensions."""
    return [product(shape[i:]) for i in range(len(shape))]


def coarsen(kernel: Kernel, name: str, shape: Shape) -> Kernel:
    """See the parameter in a shape that `common_shape` made of its own and others."""
    parameters = list(kernel.parameters)
    (number,) = (i for i, p in enumerate(parameters) if p.buffer.name == name)
    own = parameters[number].buffer
    if own.shape == shape:
        return kernel
    ends = _places(shape)
    parameters[number] = replace(parameters[number], buffer=replace(own, shape=shape))

    def joined(indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        found: list[Expr] = []
        total: Expr = index(0)
        for position, subscript in enumerate(indices):
            if own.shape[position] == 1:
                continue
            total = arithmetic("add", arithmetic("mul", total, own.shape[position]), subscript)
            behind = product(own.shape[position + 1 :])
            if behind in (*ends, 1):
                found.append(total)
                total = index(0)
        return tuple(found)

    def in_expr(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer == name:
            return replace(expr, indices=joined(expr.indices))
        return expr

    def in_store(statement: Statement) -> Statement:
        if isinstance(statement, Store) and statement.buffer == name:
            return replace(statement, indices=joined(statement.indices))
        return statement

    body = map_expressions(kernel.body, lambda e: rewrite(e, in_expr))
    return replace(kernel, parameters=tuple(parameters), body=map_statements(body, in_store))
