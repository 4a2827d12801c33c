"""Operators that move every element: broadcast, reshape, transpose, reverse.

    %y = broadcast(%x) {shape = [N, 4], axes = [1]} : f32[N, 4]      [i: N, j: 4] -> x[j]
    %y = reshape(%x) {shape = [6]} : f32[6]                  [i: 6] -> x[i // 3, i % 3]

Each is an index map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.body import (
    Names,
    arithmetic,
    axes,
    flat,
    result,
    strides,
    variables,
)
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Array, AttributeDef, Attributes, Example, Op, OpDef, Value
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import (
    ATTRIBUTE,
    axes_of,
    dims,
    nonnegative,
    per_axis,
    refuse,
)
from stepwell.ir.scalar import (
    Expr,
    Formula,
    Load,
    index,
)
from stepwell.ir.size import Dim, is_opaque, product, symbol
from stepwell.ir.text import format_dim
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Result = tuple[TensorType, ...]
Arrays = tuple[Array, ...]
Shape = tuple[Dim, ...]
N = symbol("N")


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


register(
    OpDef(
        "broadcast",
        "y[.., i, ..] = x[i], or x[0] where the operand's axis has size 1",
        ("x",),
        (
            AttributeDef("shape", "dims", "the result's shape"),
            AttributeDef("axes", "ints", "the result's axis of each axis of x, increasing"),
        ),
        _infer_broadcast,
        _broadcast,
        _broadcast_gradient,
        _broadcast_body,
        _broadcast_examples,
    )
)


# reshape


def _infer_reshape(types: Types, attributes: Attributes) -> Result:
    (x,), shape = types, tuple(attributes["shape"])
    nonnegative("the size", shape)
    before, after = x.elements, product(shape)
    if before != after and not (is_opaque(before) or is_opaque(after)):
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


register(
    OpDef(
        "reshape",
        "y = x in another shape, in row-major order",
        ("x",),
        (AttributeDef("shape", "dims", "the result's shape"),),
        _infer_reshape,
        _reshape,
        _reshape_gradient,
        _reshape_body,
        _reshape_examples,
    )
)


# transpose


def _infer_transpose(types: Types, attributes: Attributes) -> Result:
    (x,), order = types, tuple(attributes["permutation"])
    per_axis("permutation", order, x.rank)
    axes_of(order, x.rank)
    return (x.with_shape([x.shape[axis] for axis in order]),)


def _transpose(arrays: Sequence[Array], attributes: Attributes, results: Types) -> Arrays:
    return (np.array(np.transpose(arrays[0], attributes["permutation"]), order="C"),)


def _transpose_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    (dy,), order = cotangents, op.attributes["permutation"]
    inverse = tuple(order.index(axis) for axis in range(len(order)))
    made = b.producer(dy)
    if made is not None and made.name == "contract":  # of a product, only the letters are turned
        terms, _, letters = made.attributes["spec"].partition("->")
        turned = "".join(letters[axis] for axis in inverse)
        return [b.op("contract", made.operands, spec=f"{terms}->{turned}")]
    return [b.op("transpose", [dy], permutation=inverse)]


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


register(
    OpDef(
        "transpose",
        "y[i, j] = x[j, i]",
        ("x",),
        (AttributeDef("permutation", "ints", "the axis of x for each axis of the result"),),
        _infer_transpose,
        _transpose,
        _transpose_gradient,
        _transpose_body,
        _transpose_examples,
    )
)


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


register(
    OpDef(
        "reverse",
        "y[i] = x[size - 1 - i]",
        ("x",),
        (AttributeDef("axes", "ints", "the axes to turn round"),),
        _infer_reverse,
        _reverse,
        _reverse_gradient,
        _reverse_body,
        _reverse_examples,
    )
)
