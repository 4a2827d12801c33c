"""Operators that move elements: broadcast, reshape, transpose, slice, reverse, pad, concat, gather.

    %y = broadcast(%x) {shape = [N, 4], axes = [1]} : f32[N, 4]      [i: N, j: 4] -> x[j]
    %y = slice(%x) {start = [1], stop = [N], step = [2]}             [i: N // 2] -> x[2*i + 1]

Each is an index map. Where a subscript could leave the operand (pad, concat) the load is guarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepwell.ir.dtypes import I32, I64, DType
from stepwell.ir.graph.body import (
    Names,
    arithmetic,
    as_expr,
    axes,
    flat,
    inside,
    load,
    narrow,
    plus,
    result,
    strides,
    variables,
)
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Array, AttributeDef, Attributes, Example, Op, OpDef, Value
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import (
    ATTRIBUTE,
    DTYPE,
    RANK,
    axes_of,
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
    Reduce,
    Select,
    index,
)
from stepwell.ir.size import Dim, Size, ceildiv, product, provably_le, symbol
from stepwell.ir.text import format_dim
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Result = tuple[TensorType, ...]
Arrays = tuple[Array, ...]
Shape = tuple[Dim, ...]
N = symbol("N")


def index_op(
    b: GraphBuilder, formula: Formula, operands: Sequence[Value], hint: str = "d"
) -> Value:
    """An `index` op: the formula's loads are named x0, x1, … for the operands."""
    return b.op("index", operands, hint=hint, formula=formula)


# broadcast


def _infer_broadcast(types: Types, attributes: Attributes) -> Result:
    (x,), shape, axes_ = types, tuple(attributes["shape"]), tuple(attributes["axes"])
    per_axis("axes", axes_, x.rank)
    axes_of(axes_, len(shape))
    if list(axes_) != sorted(axes_):
        refuse(f"`axes` {list(axes_)} are not in increasing order", 0, code=ATTRIBUTE)
    for dim, axis in zip(x.shape, axes_, strict=True):
        if dim != 1 and dim != shape[axis]:
            refuse(f"{format_dim(dim)} does not broadcast to {format_dim(shape[axis])}", 0)
    return (x.with_shape(shape),)


def _broadcast(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    (x,), shape, axes_ = arrays, attributes["shape"], attributes["axes"]
    thin = [1] * len(shape)
    for size, axis in zip(x.shape, axes_, strict=True):
        thin[axis] = size
    return (np.array(np.broadcast_to(x.reshape(thin), shape)),)


def _broadcast_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    shape, axes_ = op.operands[0].type.shape, op.attributes["axes"]
    kept = {a for a, dim in zip(axes_, shape, strict=True) if dim == op.result.type.shape[a]}
    gone = tuple(a for a in range(op.result.type.rank) if a not in kept)
    dx = b.op("reduce_sum", cotangents, axes=gone) if gone else cotangents[0]
    return [b.op("reshape", [dx], shape=shape) if dx.type.shape != shape else dx]


def _broadcast_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x,), (y,) = types, results
    index_ = axes(y.shape)
    at = variables(index_)
    picked = [
        index(0) if dim == 1 and y.shape[axis] != 1 else at[axis]
        for dim, axis in zip(x.shape, attributes["axes"], strict=True)
    ]
    return result(index_, Load("x", tuple(picked), x.dtype), x.dtype)


def _broadcast_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[Shape, Shape, tuple[int, ...]]] = [
        ((), (3, 5), ()),
        ((17,), (2, 17), (1,)),
        ((17,), (17, 2), (0,)),
        ((3, 1), (3, 7), (0, 1)),
        ((1, 5), (0, 5), (0, 1)),
        ((1,), (1, 1), (1,)),
        ((N, 1), (2, N, 9), (1, 2)),
    ]
    return [Example((TensorType(dtype, x),), {"shape": y, "axes": axes_}) for x, y, axes_ in cases]


# reshape


def _opaque(dim: Dim) -> bool:
    """Whether a size holds a quotient or the like: equality then is a constraint's business."""
    return isinstance(dim, Size) and any(a.function != "symbol" for m, _ in dim.terms for a in m)


def _infer_reshape(types: Types, attributes: Attributes) -> Result:
    (x,), shape = types, tuple(attributes["shape"])
    nonnegative("the size", shape)
    before, after = x.elements, product(shape)
    if before != after and not (_opaque(before) or _opaque(after)):
        refuse(
            f"{dims(x.shape)} has {format_dim(before)} elements, "
            f"{dims(shape)} has {format_dim(after)}",
            0,
        )
    return (x.with_shape(shape),)


def _reshape(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    return (arrays[0].reshape(attributes["shape"]),)


def _reshape_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    return [b.op("reshape", cotangents, shape=op.operands[0].type.shape)]


def _groups(x: Sequence[Dim], y: Sequence[Dim]) -> list[tuple[range, range]]:
    """Axes of x and y in runs of equal products: [N, 3, H], [N, 3*H] → N with N, 3 H with 3*H."""
    found: list[tuple[range, range]] = []
    i = j = 0
    while i < len(x) or j < len(y):
        end_i, end_j = _shortest_run(x[i:], y[j:])
        found.append((range(i, i + end_i), range(j, j + end_j)))
        i, j = i + end_i, j + end_j
    return found


def _shortest_run(x: Sequence[Dim], y: Sequence[Dim]) -> tuple[int, int]:
    for total in range(2, len(x) + len(y) + 1):
        for i in range(1, total):
            if i > len(x) or total - i > len(y):
                continue
            head = product(list(x[:i]))
            if head == product(list(y[: total - i])) and head != 0:
                return i, total - i
    return len(x), len(y)


def _reshape_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x,), (y,) = types, results
    index_ = Names(x.shape, y.shape).axes(y.shape)
    at = variables(index_)
    subscripts: list[Expr] = []
    for left, right in _groups(x.shape, y.shape):
        if len(left) == len(right) == 1:
            subscripts.append(at[right[0]])
            continue
        number = flat([at[j] for j in right], [y.shape[j] for j in right])
        shape = [x.shape[i] for i in left]
        subscripts += _unravel(number, shape)
    return result(index_, Load("x", tuple(subscripts), x.dtype), x.dtype)


def _unravel(number: Expr, shape: Sequence[Dim]) -> list[Expr]:
    """The position with a row-major number."""
    found: list[Expr] = []
    for position, (dim, stride) in enumerate(zip(shape, strides(shape), strict=True)):
        if dim == 1:
            found.append(index(0))
            continue
        value = number if stride == 1 else _quotient("floordiv", number, stride)
        whole = all(d == 1 for d in shape[:position])
        found.append(value if whole else _quotient("mod", value, dim))
    return found


def _quotient(op: str, x: Expr, y: Dim) -> Expr:
    return index(0) if y == 0 else arithmetic(op, x, y)


def _reshape_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[tuple[Dim, ...], tuple[Dim, ...]]] = [
        ((), (1, 1)),
        ((1,), ()),
        ((6,), (2, 3)),
        ((2, 3), (6,)),
        ((4, 6), (3, 8)),
        ((0, 3), (0, 7)),
        ((5, 1, 7), (5, 7)),
        ((2, 3, 4), (6, 4)),
        ((N, 12), (N, 3, 4)),
        ((N, 3, 4), (3 * N, 4)),
    ]
    return [Example((TensorType(dtype, x),), {"shape": y}) for x, y in cases]


# transpose


def _infer_transpose(types: Types, attributes: Attributes) -> Result:
    (x,), order = types, tuple(attributes["permutation"])
    per_axis("permutation", order, x.rank)
    axes_of(order, x.rank)
    return (x.with_shape([x.shape[axis] for axis in order]),)


def _transpose(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    return (np.array(np.transpose(arrays[0], attributes["permutation"]), order="C"),)


def _transpose_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    order = op.attributes["permutation"]
    inverse = tuple(order.index(axis) for axis in range(len(order)))
    return [b.op("transpose", cotangents, permutation=inverse)]


def _transpose_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x,), order = types, attributes["permutation"]
    index_ = axes(results[0].shape)
    at = variables(index_)
    picked = tuple(at[order.index(axis)] for axis in range(x.rank))
    return result(index_, Load("x", picked, x.dtype), x.dtype)


def _transpose_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[tuple[Dim, ...], tuple[int, ...]]] = [
        ((), ()),
        ((17, 3), (1, 0)),
        ((2, 3, 5), (2, 0, 1)),
        ((0, 3), (1, 0)),
        ((N, 4, 3), (0, 2, 1)),
    ]
    return [Example((TensorType(dtype, x),), {"permutation": p}) for x, p in cases]


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


# reverse


def _infer_reverse(types: Types, attributes: Attributes) -> Result:
    axes_of(tuple(attributes["axes"]), types[0].rank)
    return (types[0],)


def _reverse(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    return (np.array(np.flip(arrays[0], tuple(attributes["axes"]))),)


def _reverse_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    return [b.op("reverse", cotangents, axes=op.attributes["axes"])]


def _reverse_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x,) = types
    index_ = axes(x.shape)
    picked = [
        arithmetic("sub", dim - 1, at) if axis in attributes["axes"] else at
        for axis, (at, dim) in enumerate(zip(variables(index_), x.shape, strict=True))
    ]
    return result(index_, Load("x", tuple(picked), x.dtype), x.dtype)


def _reverse_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[tuple[Dim, ...], tuple[int, ...]]] = [
        ((17,), (0,)),
        ((3, 5), (0, 1)),
        ((0,), (0,)),
        ((2, N), (1,)),
    ]
    return [Example((TensorType(dtype, x),), {"axes": axes_}) for x, axes_ in cases]


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
    """dx[.., v, ..] = the sum of dy[.., i.., ..] over all i with indices[i..] == v."""
    (x, indices), (dy,), axis = op.operands, cotangents, op.attributes["axis"]
    names = Names(x.type.shape, indices.type.shape)
    outer = names.axes(x.type.shape)
    inner = names.axes(indices.type.shape, "pqr")
    at, over = variables(outer), variables(inner)
    chosen: Expr = Load("x1", over, indices.type.dtype)
    chosen = chosen if indices.type.dtype is I64 else Cast(chosen, I64)
    hit = Binary("eq", chosen, at[axis])
    term = load("x0", (*at[:axis], *over, *at[axis + 1 :]), dy.type.dtype)
    zero = Const(0, term.dtype)
    total = Reduce("sum", inner, term, hit) if inner else Select(hit, term, zero)
    formula = Formula(outer, narrow(total, dy.type.dtype))
    return [index_op(b, formula, [dy, indices]), None]


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


def _operator(
    name: str, formula: str, operands: tuple[str, ...], *attributes: AttributeDef
) -> None:
    """Register one of the above by its name's functions."""
    parts: dict[str, Any] = globals()
    register(
        OpDef(
            name,
            formula,
            operands,
            attributes,
            parts[f"_infer_{name}"],
            parts[f"_{name}"],
            parts[f"_{name}_gradient"],
            parts[f"_{name}_body"],
            parts[f"_{name}_examples"],
        )
    )


_operator(
    "broadcast",
    "y[.., i, ..] = x[i], or x[0] where the operand's axis has size 1",
    ("x",),
    AttributeDef("shape", "dims", "the result's shape"),
    AttributeDef("axes", "ints", "the result's axis of each axis of x, increasing"),
)
_operator(
    "reshape", "y = x in another shape, in row-major order", ("x",),
    AttributeDef("shape", "dims", "the result's shape"),
)  # fmt: skip
_operator(
    "transpose", "y[i, j] = x[j, i]", ("x",),
    AttributeDef("permutation", "ints", "the axis of x for each axis of the result"),
)  # fmt: skip
_operator(
    "slice",
    "y[i] = x[start + i*step]",
    ("x",),
    AttributeDef("start", "dims", "the first position, per axis"),
    AttributeDef("stop", "dims", "the position after the last, per axis"),
    AttributeDef("step", "ints", "the distance, per axis"),
)
_operator(
    "reverse", "y[i] = x[size - 1 - i]", ("x",),
    AttributeDef("axes", "ints", "the axes to turn round"),
)  # fmt: skip
_operator(
    "pad",
    "y[i] = x[i - low], or value outside x",
    ("x",),
    AttributeDef("low", "dims", "elements before, per axis"),
    AttributeDef("high", "dims", "elements after, per axis"),
    AttributeDef("value", "number", "what is there"),
)
_operator(
    "concat", "y = x0, x1, … one after the other along an axis", ("*x",),
    AttributeDef("axis", "int", "the axis"),
)  # fmt: skip
_operator(
    "gather", "y[.., i, ..] = x[.., indices[i], ..]", ("x", "indices"),
    AttributeDef("axis", "int", "the axis of x that the indices replace"),
)  # fmt: skip
