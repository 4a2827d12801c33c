"""Reductions of windows that slide: `window_max` and `window_sum`.

    %y = window_max(%x) {window = [2], stride = [2], …} : f32[4]
         [i: 4] -> max[p: 2] x[2*i + p]

Positions outside the input do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stepwell.ir import numerics
from stepwell.ir.dtypes import DType
from stepwell.ir.graph.body import (
    Names,
    load,
    narrow,
    result,
    variables,
)
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Array, AttributeDef, Attributes, Example, Op, OpDef, Value
from stepwell.ir.graph.geometry import (
    GEOMETRY,
    GEOMETRY_ATTRIBUTES,
    check_geometry,
    input_sites,
    output_shape,
    output_sources,
    static,
)
from stepwell.ir.graph.index import index_op
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import (
    per_axis,
    positive,
    takes,
)
from stepwell.ir.scalar import Binary, Const, Formula, Reduce, Select, Var, index
from stepwell.ir.size import Dim, symbol
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Shape = tuple[Dim, ...]
N = symbol("N")


def _infer_window(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    (x,) = types
    takes(x, not x.dtype.is_bool, "numbers")
    per_axis("window", attributes["window"], x.rank)
    positive("window", attributes["window"])
    check_geometry(attributes, x.rank)
    return (x.with_shape(output_shape(x.shape, attributes["window"], attributes)),)


def _window_body(
    kind: str,
) -> Callable[[Types, Attributes, Types], tuple[Formula, ...]]:
    def body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
        (x,), (y,) = types, results
        names = Names(x.shape, y.shape)
        outer, every = names.axes(y.shape), names.axes(attributes["window"], "pqrstu")
        inner = tuple(axis for axis in every if axis.extent != 1)
        taps = [index(0) if axis.extent == 1 else Var(axis.name) for axis in every]
        sites, guard = input_sites(variables(outer), taps, x.shape, attributes)
        if not inner and guard is not None:  # a window of one element, but with padding
            inner = every[:1]
        element = load("x", sites, x.dtype)
        return result(outer, Reduce(kind, inner, element, guard) if inner else element, x.dtype)

    return body


def _window_reference(kind: str) -> Callable[[Sequence[Array], Attributes, Types], tuple[Array]]:
    def reference(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array]:
        (x,), (y,) = arrays, results
        dtype = y.dtype
        wide = x.astype(dtype.compute.numpy)
        widths = list(zip(attributes["padding_low"], attributes["padding_high"], strict=True))
        fill = dtype.lowest if kind == "max" else 0
        padded = np.pad(wide, widths, constant_values=fill) if widths else wide
        spans = [
            d * (w - 1) + 1
            for w, d in zip(attributes["window"], attributes["dilation"], strict=True)
        ]
        if 0 in y.shape:
            return (np.zeros(static(y.shape), x.dtype),)
        views = np.lib.stride_tricks.sliding_window_view(padded, spans) if spans else padded
        steps = [slice(None, None, s) for s in attributes["stride"]]
        taps = [slice(None, None, d) for d in attributes["dilation"]]
        picked = views[(*steps, *taps)]
        rank = len(spans)
        return (numerics.reduce(kind, picked, tuple(range(rank, 2 * rank))).astype(x.dtype),)

    return reference


def _window_sum_gradient(
    b: GraphBuilder, op: Op, cotangents: Sequence[Value]
) -> list[Value | None]:
    """dx[t] = sum[p] dy[(t + low - p*dilation) / stride]"""
    (x,), (dy,) = op.operands, cotangents
    names = Names(x.type.shape, dy.type.shape)
    outer, inner = names.axes(x.type.shape), names.axes(op.attributes["window"], "pqrstu")
    if not inner:
        return [dy]
    at, taps = variables(outer), variables(inner)
    sources, exact, guard = output_sources(at, taps, dy.type.shape, op.attributes)
    value = Reduce("sum", inner, load("x0", sources, dy.type.dtype, guard), exact)
    return [index_op(b, Formula(outer, narrow(value, dy.type.dtype)), [dy])]


def _window_max_gradient(
    b: GraphBuilder, op: Op, cotangents: Sequence[Value]
) -> list[Value | None]:
    """dy goes to the elements equal to the maximum, in equal shares."""
    (x,), (dy,), dtype = op.operands, cotangents, op.result.type.dtype
    if not x.type.rank:
        return [dy]
    names = Names(x.type.shape, dy.type.shape)
    outer, inner = names.axes(dy.type.shape), names.axes(op.attributes["window"], "pqrstu")
    sites, guard = input_sites(variables(outer), variables(inner), x.type.shape, op.attributes)
    one, zero = Const(1, dtype.compute), Const(0, dtype.compute)
    equal = Binary("eq", load("x0", sites, dtype), load("x1", variables(outer), dtype))
    count = Reduce("sum", inner, Select(equal, one, zero), guard)
    counted = index_op(b, Formula(outer, narrow(count, dtype)), [x, op.result])
    share = b.op("div", [dy, counted])
    names = Names(x.type.shape, dy.type.shape)
    outer, inner = names.axes(x.type.shape), names.axes(op.attributes["window"], "pqrstu")
    sources, exact, guard = output_sources(
        variables(outer), variables(inner), dy.type.shape, op.attributes
    )
    equal = Binary("eq", load("x0", variables(outer), dtype), load("x1", sources, dtype, guard))
    term = Select(equal, load("x2", sources, dtype, guard), zero)
    value = narrow(Reduce("sum", inner, term, exact), dtype)
    return [index_op(b, Formula(outer, value), [x, op.result, share])]


def _window_examples(dtype: DType) -> list[Example]:
    if dtype.is_bool:
        return []
    cases: list[tuple[Shape, tuple[tuple[Dim, ...], ...]]] = [
        ((17,), ((3,), (1,), (0,), (0,), (1,))),
        ((9,), ((2,), (2,), (1,), (1,), (2,))),
        ((2, 5, 6), ((1, 2, 3), (1, 2, 1), (0, 1, 1), (0, 0, 1), (1, 1, 2))),
        ((0, 4), ((1, 2), (1, 2), (0, 0), (0, 0), (1, 1))),
        ((N, 8), ((1, 3), (1, 2), (0, 1), (0, 1), (1, 1))),
    ]
    names = ("window", *GEOMETRY)
    return [
        Example((TensorType(dtype, x),), dict(zip(names, parts, strict=True))) for x, parts in cases
    ]


for _kind, _gradient in (("max", _window_max_gradient), ("sum", _window_sum_gradient)):
    register(
        OpDef(
            f"window_{_kind}",
            f"y[i] = {_kind}[p] x[i*stride + p*dilation - low]",
            ("x",),
            (AttributeDef("window", "ints", "the window, per axis"), *GEOMETRY_ATTRIBUTES),
            _infer_window,
            _window_reference(_kind),
            _gradient,
            _window_body(_kind),
            _window_examples,
        )
    )
