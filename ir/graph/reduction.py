"""Reductions: `reduce_sum` and its kin, `argmax`, `argmin`, and `cumsum`.

    %y = reduce_sum(%x) {axes = [1]} : f32[N]        [i: N] -> sum[j: 784] x[i, j]
    %y = argmax(%x) {axis = 1} : i64[N]              [i: N] -> argmax[j: 10] x[i, j]
    %y = cumsum(%x) {axis = 0} : f32[N]              [i: N] -> sum[j: N where j <= i] x[j]

Reduced axes are dropped. Over nothing: sum 0, prod 1, max the lowest, min the highest, argmax 0.
16-bit floats accumulate in f32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stepwell.ir import numerics
from stepwell.ir.dtypes import I64, DType
from stepwell.ir.graph.body import Names, load, result, variables
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import (
    Array,
    AttributeDef,
    Attributes,
    Example,
    NotDifferentiable,
    Op,
    OpDef,
    Value,
)
from stepwell.ir.graph.products import product_of_others
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import axes_of, axis_of, takes
from stepwell.ir.scalar import Axis, Binary, Formula, Reduce, Var
from stepwell.ir.size import Dim, symbol
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Shape = tuple[Dim, ...]
N = symbol("N")


def _spread(b: GraphBuilder, op: Op, value: Value) -> Value:
    """A value of the reduced shape, repeated along the reduced axes."""
    shape = op.operands[0].type.shape
    kept = tuple(i for i in range(len(shape)) if i not in op.attributes["axes"])
    return b.op("broadcast", [value], shape=shape, axes=kept)


def _sum_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    return [_spread(b, op, cotangents[0])]


def _extremum_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    """Equal extrema share the cotangent."""
    (x,), (dy,), axes = op.operands, cotangents, op.attributes["axes"]
    equal = b.op("eq", [x, _spread(b, op, op.result)])
    share = b.op("cast", [equal], dtype=x.type.dtype)
    count = _spread(b, op, b.op("reduce_sum", [share], axes=axes))
    part = b.op("div", [share, count])
    return [b.op("mul", [part, _spread(b, op, dy)])]


def _prod_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    """dx[i] = dy times the product of all others: exact where an element is 0."""
    (x,), (dy,), axes = op.operands, cotangents, op.attributes["axes"]
    if not axes:
        return [dy]
    others = product_of_others(b, x, axes)
    share = _cast(b, _spread(b, op, dy), others.type.dtype)
    return [_cast(b, b.op("mul", [share, others]), x.type.dtype)]


def _cast(b: GraphBuilder, x: Value, dtype: DType) -> Value:
    return x if x.type.dtype is dtype else b.op("cast", [x], dtype=dtype)


Gradient = Callable[[GraphBuilder, Op, Sequence[Value]], Sequence[Value | None]]


def _reduction(
    kind: str, takes_: Callable[[DType], bool], what: str, gradient: Gradient | NotDifferentiable
) -> OpDef:
    def infer(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = types
        takes(x, takes_(x.dtype), what)
        axes = axes_of(tuple(attributes["axes"]), x.rank)
        return (x.with_shape([d for i, d in enumerate(x.shape) if i not in axes]),)

    def reference(
        arrays: Sequence[Array], attributes: Attributes, results: Types
    ) -> tuple[Array, ...]:
        return (numerics.reduce(kind, arrays[0], tuple(attributes["axes"])),)

    def body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
        (x,), reduced = types, attributes["axes"]
        every = Names(x.shape).axes(x.shape)
        inner = tuple(every[i] for i in reduced)
        outer = tuple(axis for i, axis in enumerate(every) if i not in reduced)
        element = load("x", variables(every), x.dtype)
        return result(outer, Reduce(kind, inner, element) if inner else element, x.dtype)

    return OpDef(
        f"reduce_{kind}",
        f"y[i] = {kind}[k] x[i, k]",
        ("x",),
        (AttributeDef("axes", "ints", "the axes to reduce, which are dropped"),),
        infer,
        reference,
        gradient,
        body,
        lambda dtype: _reduce_examples(dtype) if takes_(dtype) else [],
    )


def _reduce_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[Shape, tuple[int, ...]]] = [
        ((17,), (0,)),
        ((3, 5), ()),
        ((3, 31), (1,)),
        ((19, 2), (0,)),
        ((2, 3, 4), (0, 2)),
        ((0,), (0,)),
        ((2, 0), (1,)),
        ((N, 4), (1,)),
        ((3, N), (1,)),
    ]
    return [Example((TensorType(dtype, shape),), {"axes": axes}) for shape, axes in cases]


def _numeric(dtype: DType) -> bool:
    return not dtype.is_bool


def _logical(dtype: DType) -> bool:
    return dtype.is_bool


_NO_FLOAT = NotDifferentiable("it gives no float")
for _kind, _gradient in (
    ("sum", _sum_gradient),
    ("prod", _prod_gradient),
    ("max", _extremum_gradient),
    ("min", _extremum_gradient),
):
    register(_reduction(_kind, _numeric, "numbers", _gradient))
for _kind in ("any", "all"):
    register(_reduction(_kind, _logical, "bools", _NO_FLOAT))


def _arg(kind: str) -> OpDef:
    def infer(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = types
        takes(x, _numeric(x.dtype), "numbers")
        axis = axis_of(attributes["axis"], x.rank)
        return (TensorType(I64, (*x.shape[:axis], *x.shape[axis + 1 :])),)

    def reference(
        arrays: Sequence[Array], attributes: Attributes, results: Types
    ) -> tuple[Array, ...]:
        return (numerics.reduce(kind, arrays[0], (attributes["axis"],)),)

    def body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
        (x,), axis = types, attributes["axis"]
        every = Names(x.shape).axes(x.shape)
        outer = (*every[:axis], *every[axis + 1 :])
        element = load("x", variables(every), x.dtype)
        return (Formula(outer, Reduce(kind, (every[axis],), element)),)

    return OpDef(
        kind,
        f"y[i] = {kind}[k] x[i, k]: the first position, NaN before all",
        ("x",),
        (AttributeDef("axis", "int", "the axis to reduce, which is dropped"),),
        infer,
        reference,
        NotDifferentiable(f"{kind} gives positions"),
        body,
        lambda dtype: _axis_examples(dtype) if _numeric(dtype) else [],
    )


def _axis_examples(dtype: DType) -> list[Example]:
    cases: list[tuple[Shape, int]] = [
        ((17,), 0),
        ((3, 31), 1),
        ((19, 2), 0),
        ((1,), 0),
        ((0, 3), 0),
        ((2, 3, 4), 1),
        ((N, 5), 1),
    ]
    return [Example((TensorType(dtype, shape),), {"axis": axis}) for shape, axis in cases]


register(_arg("argmax"))
register(_arg("argmin"))


def _infer_cumsum(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    (x,) = types
    takes(x, _numeric(x.dtype), "numbers")
    axis_of(attributes["axis"], x.rank)
    return (x,)


def _cumsum(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    (x,), wide = arrays, results[0].dtype.compute.numpy
    return (np.cumsum(x, attributes["axis"], dtype=wide).astype(x.dtype),)


def _cumsum_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    axis = op.attributes["axis"]
    turned = b.op("reverse", cotangents, axes=(axis,))
    total = b.op("cumsum", [turned], axis=axis)
    return [b.op("reverse", [total], axes=(axis,))]


def _cumsum_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x,), axis = types, attributes["axis"]
    names = Names(x.shape)
    outer = names.axes(x.shape)
    inner = Axis(names.fresh("k"), x.shape[axis])
    at = variables(outer)
    before = Binary("le", Var(inner.name), at[axis])
    element = load("x", (*at[:axis], Var(inner.name), *at[axis + 1 :]), x.dtype)
    return result(outer, Reduce("sum", (inner,), element, before), x.dtype)


register(
    OpDef(
        "cumsum",
        "y[i] = sum[k where k <= i] x[k]",
        ("x",),
        (AttributeDef("axis", "int", "the axis along which to add up"),),
        _infer_cumsum,
        _cumsum,
        _cumsum_gradient,
        _cumsum_body,
        lambda dtype: _axis_examples(dtype) if _numeric(dtype) else [],
    )
)
