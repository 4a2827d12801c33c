"""The product of all other elements along axes: what the gradient of a product is made of.

In: a value, axes. Out: for each element the product of the others, in the type that is computed in;
exact where elements are 0, and in as many steps as there are elements.

    before[i, j] = prod[k where k <= j] (1 if k = 0, else x[i, k - 1])      x[i, 0] ⋯ x[i, j - 1]
    behind       = the same of x reversed, reversed                        x[i, j + 1] ⋯ x[i, N - 1]
    others       = before * behind
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.ir.graph.body import Names, load, variables
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Value
from stepwell.ir.scalar import Axis, Binary, Const, Expr, Formula, Reduce, Select, Var, index
from stepwell.ir.size import product


def product_of_others(b: GraphBuilder, x: Value, axes: Sequence[int]) -> Value:
    """Of x's shape; several axes are taken for one, in their order."""
    if len(axes) == 1:
        return _others(b, x, axes[0])
    kept = [axis for axis in range(x.type.rank) if axis not in axes]
    order = (*kept, *axes)
    moved = b.op("transpose", [x], permutation=order)
    shape = moved.type.shape
    row = b.op("reshape", [moved], shape=(*shape[: len(kept)], product(shape[len(kept) :])))
    found = b.op("reshape", [_others(b, row, len(kept))], shape=shape)
    back = tuple(order.index(axis) for axis in range(x.type.rank))
    return b.op("transpose", [found], permutation=back)


def _others(b: GraphBuilder, x: Value, axis: int) -> Value:
    turned = b.op("reverse", [x], axes=(axis,))
    behind = b.op("reverse", [_before(b, turned, axis)], axes=(axis,))
    return b.op("mul", [_before(b, x, axis), behind])


def _before(b: GraphBuilder, x: Value, axis: int) -> Value:
    """For each element the product of those before it along an axis."""
    dtype, names = x.type.dtype, Names(x.type.shape)
    outer = names.axes(x.type.shape)
    inner = Axis(names.fresh("p"), x.type.shape[axis])
    at, place = variables(outer), Var(inner.name)
    follows = Binary("gt", place, index(0))
    previous: list[Expr] = [*at]
    previous[axis] = Binary("sub", place, index(1))
    one = Const(1.0, dtype.compute)
    factor = Select(follows, load("x0", previous, dtype, follows), one)
    running = Reduce("prod", (inner,), factor, Binary("le", place, at[axis]))
    return b.op("index", [x], hint="d", formula=Formula(outer, running))
