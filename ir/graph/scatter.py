"""`scatter_add`: rows added where an index says, the transpose of `gather`.

    %y = scatter_add(%x, %ids, %rows) {axis = 0} : f32[V, D]
         [v: V, d: D] -> x[v, d] + sum[n: N where ids[n] == v] rows[n, d]

Rows are added in order, so that sums round in the same way in every run. A row whose index is
outside the axis goes nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepwell.ir.dtypes import I32, I64, DType
from stepwell.ir.graph.body import Names, load, result, variables
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Array, AttributeDef, Attributes, Example, Op, OpDef, Value
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import DTYPE, axis_of, dims, refuse, same_dtype, takes
from stepwell.ir.scalar import Binary, Cast, Const, Expr, Formula, Load, Reduce, Select, from_dim
from stepwell.ir.size import Dim, symbol
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
N = symbol("N")


def _infer(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, indices, updates = types
    takes(x, not x.dtype.is_bool, "numbers")
    if not indices.dtype.is_int:
        refuse(f"takes integers as indices, not {indices.dtype}", 1, code=DTYPE)
    same_dtype((x, updates))
    axis = axis_of(attributes["axis"], x.rank)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if updates.shape != shape:
        refuse(f"the rows to add have the shape {dims(shape)}, not {dims(updates.shape)}", 0, 2)
    return (x,)


def _scatter(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    x, indices, updates = arrays
    axis, wide = attributes["axis"], results[0].dtype.compute.numpy
    total = np.array(np.moveaxis(x, axis, 0), wide)
    inside = (indices >= 0) & (indices < x.shape[axis])
    order = range(axis, axis + indices.ndim)
    rows = np.moveaxis(updates, tuple(order), tuple(range(indices.ndim))).astype(wide)
    np.add.at(total, indices[inside].astype(np.int64), rows[inside])
    return (np.ascontiguousarray(np.moveaxis(total, 0, axis).astype(x.dtype)),)


def _gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    (dy,), axis = cotangents, op.attributes["axis"]
    indices = op.operands[1]
    if dy.type.shape[axis] == 0:
        return [dy, None, None]
    return [dy, None, _rows(b, dy, indices, axis)]


def _rows(b: GraphBuilder, dy: Value, indices: Value, axis: int) -> Value:
    """dy at the indices, 0 where they are outside: gather reads inside only."""
    shape = (*dy.type.shape[:axis], *indices.type.shape, *dy.type.shape[axis + 1 :])
    names = Names(shape, dy.type.shape)
    outer = names.axes(shape)
    at, end = variables(outer), axis + indices.type.rank
    place = _place("x1", at[axis:end], indices.type.dtype)
    low = Binary("ge", place, Const(0, I64))
    high = Binary("lt", place, from_dim(dy.type.shape[axis]))
    subscripts = (*at[:axis], place, *at[end:])
    row = Load("x0", subscripts, dy.type.dtype, Binary("and", low, high))
    return b.op("index", [dy, indices], hint="rows", formula=Formula(outer, row))


def _place(name: str, at: Sequence[Expr], dtype: DType) -> Expr:
    place = Load(name, tuple(at), dtype)
    return place if dtype is I64 else Cast(place, I64)


def _body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x, indices, updates), axis = types, attributes["axis"]
    names = Names(*(type.shape for type in types))
    outer, inner = names.axes(x.shape), names.axes(indices.shape, "pqr")
    at, over = variables(outer), variables(inner)
    hit = Binary("eq", _place("indices", over, indices.dtype), at[axis])
    row = load("updates", (*at[:axis], *over, *at[axis + 1 :]), updates.dtype)
    zero = Const(0, row.dtype)
    total = Reduce("sum", inner, row, hit) if inner else Select(hit, row, zero)
    return result(outer, Binary("add", load("x", at, x.dtype), total), x.dtype)


def _examples(dtype: DType) -> list[Example]:
    if dtype.is_bool:
        return []
    cases: list[tuple[tuple[Dim, ...], tuple[Dim, ...], int, DType]] = [
        ((7,), (), 0, I64),
        ((7, 3), (5,), 0, I32),
        ((3, 7), (2, 2), 1, I64),
        ((4, 17), (0,), 0, I64),
        ((5, 2), (N,), 0, I32),
    ]
    return [
        Example(
            (
                TensorType(dtype, x),
                TensorType(kind, i),
                TensorType(dtype, (*x[:axis], *i, *x[axis + 1 :])),
            ),
            {"axis": axis},
        )
        for x, i, axis, kind in cases
    ]


SCATTER_ADD = register(
    OpDef(
        "scatter_add",
        "y = x, with y[.., indices[i], ..] += updates[.., i, ..] for each i in order",
        ("x", "indices", "updates"),
        (AttributeDef("axis", "int", "the axis of x that the indices number"),),
        _infer,
        _scatter,
        _gradient,
        _body,
        _examples,
    )
)
