"""Operators that take parts and join them: slice, pad, concat, gather.

    %y = slice(%x) {start = [1], stop = [N], step = [2]}        [i: N // 2] -> x[2*i + 1]
    %y = pad(%x) {low = [1], high = [0], value = 0.0}           [i: N + 1] -> x[i - 1 | i >= 1]

Each is an index map. Where a subscript could leave the operand the load is guarded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepwell.ir.dtypes import I32, I64, DType
from stepwell.ir.graph.body import (
    arithmetic,
    as_expr,
    axes,
    inside,
    plus,
    result,
    variables,
)
from stepwell.ir.graph.builder import Builder, GraphBuilder
from stepwell.ir.graph.core import Array, AttributeDef, Attributes, Example, Op, OpDef, Value
from stepwell.ir.graph.index import index_op
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import (
    DTYPE,
    RANK,
    axis_of,
    dims,
    nonnegative,
    per_axis,
    positive,
    refuse,
    same_dtype,
)
from stepwell.ir.scalar import (
    Binary,
    Cast,
    Const,
    Expr,
    Formula,
    Load,
    Select,
    index,
)
from stepwell.ir.size import Dim, ceildiv, provably_le, symbol
from stepwell.ir.text import format_dim
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Result = tuple[TensorType, ...]
Arrays = tuple[Array, ...]
Shape = tuple[Dim, ...]
N = symbol("N")


# slice


def _infer_slice(types: Types, attributes: Attributes) -> Result:
    (x,) = types
    start, stop, step = (tuple(attributes[name]) for name in ("start", "stop", "step"))
    for name, values in (("start", start), ("stop", stop), ("step", step)):
        per_axis(name, values, x.rank)
    positive("step", step)
    nonnegative("the start", start)
    shape: list[Dim] = []
    for dim, low, high, every in zip(x.shape, start, stop, step, strict=True):
        if provably_le(dim + 1, high):
            refuse(f"the slice ends at {format_dim(high)}, beyond {format_dim(dim)}", 0)
        if provably_le(high + 1, low):
            refuse(f"the slice from {format_dim(low)} to {format_dim(high)} is empty", 0)
        shape.append(ceildiv(high - low, every))
    return (x.with_shape(shape),)


def _slice(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    parts = zip(attributes["start"], attributes["stop"], attributes["step"], strict=True)
    return (np.array(arrays[0][tuple(slice(*part) for part in parts)]),)


def _slice_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    (x,), (dy,) = op.operands, cotangents
    start, stop, step = (op.attributes[name] for name in ("start", "stop", "step"))
    if all(every == 1 for every in step):
        high = tuple(dim - end for dim, end in zip(x.type.shape, stop, strict=True))
        return [b.op("pad", [dy], low=tuple(start), high=high, value=0.0)]
    index_ = axes(x.type.shape, [dy.type])
    subscripts: list[Expr] = []
    guard: Expr | None = None
    for at, low, every, dim in zip(variables(index_), start, step, dy.type.shape, strict=True):
        offset = arithmetic("sub", at, low)
        whole = arithmetic("floordiv", offset, every)
        exact = Binary("eq", arithmetic("mod", offset, every), index(0))
        here = Binary("and", exact, inside(whole, dim))
        guard = here if guard is None else Binary("and", guard, here)
        subscripts.append(whole)
    formula = Formula(index_, Load("x0", tuple(subscripts), dy.type.dtype, guard))
    return [index_op(b, formula, [dy])]


def _slice_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x,) = types
    index_ = axes(results[0].shape, types)
    subscripts = [
        plus(low, arithmetic("mul", at, every))
        for at, low, every in zip(
            variables(index_), attributes["start"], attributes["step"], strict=True
        )
    ]
    return result(index_, Load("x", tuple(subscripts), x.dtype), x.dtype)


def _slice_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[Shape, Shape, Shape, tuple[int, ...]]] = [
        ((17,), (0,), (17,), (1,)),
        ((17,), (1,), (16,), (3,)),
        ((5, 9), (1, 2), (4, 9), (1, 2)),
        ((3,), (2,), (2,), (1,)),
        ((N + 2, 3), (1, 0), (N + 1, 3), (1, 2)),
    ]
    return [
        Example((TensorType(dtype, x),), {"start": a, "stop": z, "step": s}) for x, a, z, s in cases
    ]


def part(b: Builder, x: Value, axis: int, start: Dim, count: Dim) -> Value:
    """So many positions from `start` on along an axis; `b` is what appends ops."""
    low = tuple(start if i == axis else 0 for i in range(x.type.rank))
    stop = tuple(start + count if i == axis else dim for i, dim in enumerate(x.type.shape))
    return b.op("slice", [x], start=low, stop=stop, step=(1,) * x.type.rank)


register(
    OpDef(
        "slice",
        "y[i] = x[start + i*step]",
        ("x",),
        (
            AttributeDef("start", "dims", "the first position, per axis"),
            AttributeDef("stop", "dims", "the position after the last, per axis"),
            AttributeDef("step", "ints", "the distance, per axis"),
        ),
        _infer_slice,
        _slice,
        _slice_gradient,
        _slice_body,
        _slice_examples,
    )
)


# pad


def _infer_pad(types: Types, attributes: Attributes) -> Result:
    (x,), low, high = types, tuple(attributes["low"]), tuple(attributes["high"])
    per_axis("low", low, x.rank)
    per_axis("high", high, x.rank)
    nonnegative("the padding", (*low, *high))
    return (x.with_shape([a + d + z for a, d, z in zip(low, x.shape, high, strict=True)]),)


def _pad(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    widths = list(zip(attributes["low"], attributes["high"], strict=True))
    if not widths:
        return (arrays[0],)
    value = arrays[0].dtype.type(attributes["value"])
    return (np.pad(arrays[0], widths, constant_values=value),)


def _pad_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    shape, low = op.operands[0].type.shape, tuple(op.attributes["low"])
    stop = tuple(a + dim for a, dim in zip(low, shape, strict=True))
    return [b.op("slice", cotangents, start=low, stop=stop, step=(1,) * len(low))]


def _pad_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x,) = types
    index_ = axes(results[0].shape, types)
    subscripts: list[Expr] = []
    guard: Expr | None = None
    ends = zip(variables(index_), x.shape, attributes["low"], attributes["high"], strict=True)
    for at, dim, low, high in ends:
        position = arithmetic("sub", at, low)
        subscripts.append(position)
        for needed, test in (
            (low != 0, Binary("ge", at, as_expr(low))),
            (high != 0, Binary("lt", at, as_expr(low + dim))),
        ):
            if needed:
                guard = test if guard is None else Binary("and", guard, test)
    element = Load("x", tuple(subscripts), x.dtype, guard)
    fill = Const(attributes["value"], x.dtype)
    zero = Const(0, x.dtype)
    return result(
        index_, element if guard is None or fill == zero else Select(guard, element, fill), x.dtype
    )


def _pad_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[Shape, Shape, Shape, float]] = [
        ((5,), (0,), (0,), 0.0),
        ((5,), (2,), (1,), 0.0),
        ((2, 3), (0, 16), (1, 0), 1.0),
        ((0,), (3,), (0,), 1.0),
        ((N, 3), (1, 0), (0, N), 0.0),
    ]
    return [
        Example((TensorType(dtype, x),), {"low": a, "high": z, "value": dtype.plain(v)})
        for x, a, z, v in cases
    ]


register(
    OpDef(
        "pad",
        "y[i] = x[i - low], or value outside x",
        ("x",),
        (
            AttributeDef("low", "dims", "elements before, per axis"),
            AttributeDef("high", "dims", "elements after, per axis"),
            AttributeDef("value", "number", "what is there"),
        ),
        _infer_pad,
        _pad,
        _pad_gradient,
        _pad_body,
        _pad_examples,
    )
)


# concat


def _infer_concat(types: Types, attributes: Attributes) -> Result:
    if not types:
        refuse("needs at least one operand")
    dtype, first = same_dtype(types), types[0]
    axis = axis_of(attributes["axis"], first.rank)
    total: Dim = 0
    for position, type in enumerate(types):
        if type.rank != first.rank:
            refuse(f"{first.rank} axes and {type.rank} axes", 0, position, code=RANK)
        for i, (a, b) in enumerate(zip(first.shape, type.shape, strict=True)):
            if i != axis and a != b:
                refuse(
                    f"{dims(first.shape)} and {dims(type.shape)} differ beside axis {axis}",
                    *(0, position),
                )
        total = total + type.shape[axis]
    return (TensorType(dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :])),)


def _concat(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    return (np.concatenate(arrays, attributes["axis"]),)


def _concat_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    axis = op.attributes["axis"]
    found: list[Value | None] = []
    offset: Dim = 0
    for operand in op.operands:
        shape = operand.type.shape
        low = tuple(offset if i == axis else 0 for i in range(len(shape)))
        high = tuple(offset + d if i == axis else d for i, d in enumerate(shape))
        found.append(b.op("slice", cotangents, start=low, stop=high, step=(1,) * len(shape)))
        offset = offset + shape[axis]
    return found


def _concat_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (y,), axis = results, attributes["axis"]
    index_ = axes(y.shape, types)
    at = variables(index_)
    ends: list[Dim] = [0]
    for type in types:
        ends.append(ends[-1] + type.shape[axis])
    total: Expr | None = None
    for i in reversed(range(len(types))):
        position = arithmetic("sub", at[axis], ends[i])
        below = Binary("lt", at[axis], as_expr(ends[i + 1]))
        above = Binary("ge", at[axis], as_expr(ends[i]))
        tests = [t for t, n in ((above, i > 0), (below, i < len(types) - 1)) if n]
        guard: Expr | None = None
        for test in tests:
            guard = test if guard is None else Binary("and", guard, test)
        subscripts = tuple(position if a == axis else v for a, v in enumerate(at))
        element = Load(f"x{i}", subscripts, y.dtype, guard)
        total = element if total is None else Select(below, element, total)
    assert total is not None, "concat has an operand"
    return result(index_, total, y.dtype)


def _concat_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[tuple[tuple[Dim, ...], ...], int]] = [
        (((5,),), 0),
        (((3,), (0,), (17,)), 0),
        (((2, 3), (2, 1), (2, 4)), 1),
        (((N, 2), (3, 2), (N, 2)), 0),
    ]
    return [
        Example(tuple(TensorType(dtype, shape) for shape in shapes), {"axis": axis})
        for shapes, axis in cases
    ]


register(
    OpDef(
        "concat",
        "y = x0, x1, … one after the other along an axis",
        ("*x",),
        (AttributeDef("axis", "int", "the axis"),),
        _infer_concat,
        _concat,
        _concat_gradient,
        _concat_body,
        _concat_examples,
    )
)


# gather


def _infer_gather(types: Types, attributes: Attributes) -> Result:
    x, indices = types
    if not indices.dtype.is_int:
        refuse(f"takes integers as indices, not {indices.dtype}", 1, code=DTYPE)
    axis = axis_of(attributes["axis"], x.rank)
    return (x.with_shape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]]),)


def _gather(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    x, indices = arrays
    size = x.shape[attributes["axis"]]
    if np.any(indices < 0) or np.any(indices >= size):
        raise IndexError(f"an index is outside its axis of size {size}")
    return (np.take(x, indices.astype(np.int64), attributes["axis"]),)


def _gather_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    (x, indices), (dy,) = op.operands, cotangents
    zeros = b.op("constant", value=0.0, dtype=dy.type.dtype, shape=x.type.shape)
    return [b.op("scatter_add", [zeros, indices, dy], axis=op.attributes["axis"]), None]


def _gather_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x, indices), (y,), axis = types, results, attributes["axis"]
    index_ = axes(y.shape, types)
    at = variables(index_)
    end = axis + indices.rank
    chosen: Expr = Load("indices", at[axis:end], indices.dtype)
    if indices.dtype is not I64:
        chosen = Cast(chosen, I64)
    return result(index_, Load("x", (*at[:axis], chosen, *at[end:]), x.dtype), y.dtype)


def _gather_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[Shape, Shape, int, DType]] = [
        ((7,), (), 0, I64),
        ((7, 3), (5,), 0, I32),
        ((3, 7), (2, 2), 1, I64),
        ((4, 17), (0,), 0, I64),
        ((5, 2), (N,), 0, I32),
    ]
    return [
        Example((TensorType(dtype, x), TensorType(kind, i)), {"axis": axis})
        for x, i, axis, kind in cases
    ]


register(
    OpDef(
        "gather",
        "y[.., i, ..] = x[.., indices[i], ..]",
        ("x", "indices"),
        (AttributeDef("axis", "int", "the axis of x that the indices replace"),),
        _infer_gather,
        _gather,
        _gather_gradient,
        _gather_body,
        _gather_examples,
    )
)
