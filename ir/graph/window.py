"""Windows that slide: `conv`, `window_max` and `window_sum`.

    %y = conv(%x, %w) {stride = [1], padding_low = [1], padding_high = [1], dilation = [1],
                       groups = 1} : f32[N, 8, 64]
         [n: N, o: 8, i: 64] -> sum[c: 3, p: 3] x[n, c, i + p - 1 | …] * y[o, c, p]

Along one axis, output i reads input i*stride + p*dilation - padding_low. Outside the input conv
reads 0, and the other two read nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product as positions

import numpy as np

from stepwell.ir import numerics
from stepwell.ir.dtypes import DType
from stepwell.ir.graph.body import (
    Names,
    arithmetic,
    both,
    inside,
    load,
    narrow,
    plus,
    result,
    variables,
)
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Array, AttributeDef, Attributes, Example, Op, OpDef, Value
from stepwell.ir.graph.movement import index_op
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import (
    INNER,
    RANK,
    nonnegative,
    per_axis,
    positive,
    refuse,
    same_dtype,
    takes,
)
from stepwell.ir.scalar import Axis, Binary, Const, Expr, Formula, Reduce, Select, Var, index
from stepwell.ir.size import Dim, floordiv, mod, provably_le, symbol
from stepwell.ir.text import format_dim
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Shape = tuple[Dim, ...]
GEOMETRY = ("stride", "padding_low", "padding_high", "dilation")
N = symbol("N")


def output_size(
    size: Dim, window: Dim, stride: int, low: Dim, high: Dim, dilation: int, operand: int = 0
) -> Dim:
    """How often a window fits along an axis."""
    reach = dilation * (window - 1)
    room = size + low + high - reach - 1
    if reach != 0 and provably_le(room, -1):
        refuse(
            f"a window of {format_dim(window)} with dilation {dilation} does not fit "
            f"{format_dim(size + low + high)} positions",
            operand,
        )
    return floordiv(room, stride) + 1


def _check_geometry(attributes: Attributes, count: int) -> None:
    for name in GEOMETRY:
        per_axis(name, attributes[name], count)
    positive("stride", attributes["stride"])
    positive("dilation", attributes["dilation"])
    nonnegative("the padding", (*attributes["padding_low"], *attributes["padding_high"]))


def _output_shape(sizes: Shape, window: Shape, attributes: Attributes) -> Shape:
    parts = (attributes[name] for name in GEOMETRY)
    return tuple(output_size(*part) for part in zip(sizes, window, *parts, strict=True))


def _sites(
    outputs: Sequence[Expr], taps: Sequence[Expr], sizes: Shape, attributes: Attributes
) -> tuple[list[Expr], Expr | None]:
    """The input positions under a window, and the guard that keeps them inside the input."""
    found: list[Expr] = []
    guard: Expr | None = None
    parts = (attributes[name] for name in GEOMETRY)
    for at, tap, size, stride, low, high, dilation in zip(
        outputs, taps, sizes, *parts, strict=True
    ):
        site = arithmetic(
            "sub", plus(arithmetic("mul", at, stride), arithmetic("mul", tap, dilation)), low
        )
        found.append(site)
        if low != 0:
            guard = both(guard, Binary("ge", site, index(0)))
        if high != 0:
            end = arithmetic("add", index(0), size)
            guard = both(guard, Binary("lt", site, end))
    return found, guard


def _sources(
    inputs: Sequence[Expr], taps: Sequence[Expr], outputs: Shape, attributes: Attributes
) -> tuple[list[Expr], Expr | None]:
    """The output positions whose window covers an input position at a tap, where there are any."""
    found: list[Expr] = []
    guard: Expr | None = None
    names = (attributes[name] for name in ("stride", "padding_low", "dilation"))
    for at, tap, size, stride, low, dilation in zip(inputs, taps, outputs, *names, strict=True):
        offset = arithmetic("sub", plus(at, low), arithmetic("mul", tap, dilation))
        source = arithmetic("floordiv", offset, stride)
        exact = Binary("eq", arithmetic("mod", offset, stride), index(0)) if stride != 1 else None
        found.append(source)
        guard = both(guard, exact, inside(source, size))
    return found, guard


# conv


def _infer_conv(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, w = types
    for position, type in enumerate(types):
        takes(type, not type.dtype.is_bool, "numbers", position)
    dtype, groups = same_dtype(types), attributes["groups"]
    if not 3 <= x.rank <= 5 or x.rank != w.rank:
        refuse(
            "x and w need 3 to 5 axes, as many each: x [N, C, *S], w [O, C/groups, *K]",
            *(0, 1),
            code=RANK,
        )
    _check_geometry(attributes, x.rank - 2)
    positive("groups", (groups,))
    channels, inner = x.shape[1], w.shape[1] * groups
    if channels != inner:
        refuse(
            f"x has {format_dim(channels)} channels in {groups} group(s), "
            f"w takes {format_dim(w.shape[1])} per group",
            *(0, 1),
            code=INNER,
        )
    if isinstance(w.shape[0], int) and mod(w.shape[0], groups) != 0:
        refuse(f"{w.shape[0]} output channels do not divide into {groups} groups", 1, code="SW0205")
    spatial = _output_shape(x.shape[2:], w.shape[2:], attributes)
    return (TensorType(dtype, (x.shape[0], w.shape[0], *spatial)),)


def _conv(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    """Tap by tap: a strided view of x times a slice of w, added up."""
    (y,), groups = results, attributes["groups"]
    wide = y.dtype.compute.numpy
    x, w = (array.astype(wide) for array in arrays)
    widths = list(zip(attributes["padding_low"], attributes["padding_high"], strict=True))
    x = np.pad(x, [(0, 0), (0, 0), *widths])
    outputs = static(y.shape)
    per_group = w.shape[0] // groups
    total = np.zeros((outputs[0], groups, per_group, *outputs[2:]), wide)
    split_w = w.reshape(groups, per_group, *w.shape[1:])
    for tap in positions(*(range(size) for size in w.shape[2:])):
        view = x[(slice(None), slice(None), *_strided(tap, outputs[2:], attributes))]
        grouped = view.reshape(view.shape[0], groups, w.shape[1], *view.shape[2:])
        place: tuple[slice | int, ...] = (slice(None),) * 3 + tap
        weight = split_w[place]
        with np.errstate(all="ignore"):
            total += np.einsum("ngc...,goc->ngo...", grouped, weight, optimize=wide.kind == "f")
    return (total.reshape(outputs).astype(arrays[0].dtype),)


def static(shape: Shape) -> list[int]:
    """The numbers of a shape without symbols."""
    return [dim for dim in shape if isinstance(dim, int)]


def _strided(tap: Sequence[int], sizes: Sequence[int], attributes: Attributes) -> list[slice]:
    """What a tap reads of the padded input, per spatial axis."""
    parts = zip(tap, sizes, attributes["stride"], attributes["dilation"], strict=True)
    return [slice(t * d, t * d + (n - 1) * s + 1 if n else 0, s) for t, n, s, d in parts]


def _conv_axes(x: TensorType, w: TensorType, y: TensorType) -> tuple[Names, tuple[Axis, ...]]:
    names = Names(x.shape, w.shape, y.shape)
    return names, names.axes(y.shape, "noijk")


def _channel(o: Expr, c: Expr, w: TensorType, groups: int) -> Expr:
    """The channel of x that output channel o reads as its c-th."""
    if groups == 1:
        return c
    group = arithmetic("floordiv", o, floordiv(w.shape[0], groups))
    return plus(arithmetic("mul", group, w.shape[1]), c)


def _conv_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (x, w), (y,) = types, results
    names, outer = _conv_axes(x, w, y)
    inner = names.axes(w.shape[1:], "cpqr")
    (n, o, *at), (c, *taps) = variables(outer), variables(inner)
    sites, guard = _sites(at, taps, x.shape[2:], attributes)
    channel = _channel(o, c, w, attributes["groups"])
    value = load("x", (n, channel, *sites), x.dtype, guard)
    weight = load("w", (o, c, *taps), x.dtype)
    return result(outer, Reduce("sum", inner, Binary("mul", value, weight)), x.dtype)


def _conv_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    return [_conv_dx(b, op, cotangents[0]), _conv_dw(b, op, cotangents[0])]


def _conv_dx(b: GraphBuilder, op: Op, dy: Value) -> Value:
    """dx[n, c, t] = sum[o, p] dy[n, o, (t + low - p*dilation) / stride] * w[o, c, p]"""
    (xv, wv), groups = op.operands, op.attributes["groups"]
    x, w = xv.type, wv.type
    names = Names(x.shape, w.shape, dy.type.shape)
    outer = names.axes(x.shape, "ncijk")
    per_group = floordiv(w.shape[0], groups)
    inner = names.axes((per_group, *w.shape[2:]), "opqr")
    (n, c, *at), (o, *taps) = variables(outer), variables(inner)
    if groups == 1:
        within, channel = c, o
    else:
        within = arithmetic("mod", c, w.shape[1])  # type: ignore[assignment]
        group = arithmetic("floordiv", c, w.shape[1])
        channel = plus(arithmetic("mul", group, per_group), o)  # type: ignore[assignment]
    sources, guard = _sources(at, taps, dy.type.shape[2:], op.attributes)
    term = Binary(
        "mul",
        load("x0", (n, channel, *sources), x.dtype),
        load("x1", (channel, within, *taps), x.dtype),
    )
    value = narrow(Reduce("sum", inner, term, guard), x.dtype)
    return index_op(b, Formula(outer, value), [dy, wv])


def _conv_dw(b: GraphBuilder, op: Op, dy: Value) -> Value:
    """dw[o, c, p] = sum[n, i] dy[n, o, i] * x[n, c, i*stride + p*dilation - low]"""
    xv, wv = op.operands
    x, w = xv.type, wv.type
    names = Names(x.shape, w.shape, dy.type.shape)
    outer = names.axes(w.shape, "ocpqr")
    inner = names.axes((dy.type.shape[0], *dy.type.shape[2:]), "nijk")
    (o, c, *taps), (n, *at) = variables(outer), variables(inner)
    sites, guard = _sites(at, taps, x.shape[2:], op.attributes)
    channel = _channel(o, c, w, op.attributes["groups"])
    term = Binary(
        "mul", load("x0", (n, o, *at), x.dtype), load("x1", (n, channel, *sites), x.dtype)
    )
    value = narrow(Reduce("sum", inner, term, guard), x.dtype)
    return index_op(b, Formula(outer, value), [dy, xv])


def _conv_examples(dtype: DType) -> list[Example]:
    if dtype.is_bool:
        return []
    cases: list[tuple[Shape, Shape, tuple[tuple[Dim, ...], ...], int]] = [
        ((2, 3, 17), (4, 3, 3), ((1,), (0,), (0,), (1,)), 1),
        ((1, 2, 9), (4, 1, 3), ((2,), (1,), (1,), (2,)), 2),
        ((1, 2, 5, 6), (3, 2, 3, 3), ((1, 1), (1, 1), (1, 1), (1, 1)), 1),
        ((1, 3, 5, 7), (3, 1, 2, 3), ((2, 1), (0, 2), (1, 0), (1, 2)), 3),
        ((1, 1, 3, 3, 3), (1, 1, 2, 2, 2), ((1, 1, 1), (0, 0, 0), (0, 0, 0), (1, 1, 1)), 1),
        ((0, 1, 4), (2, 1, 1), ((1,), (0,), (0,), (1,)), 1),
        ((N, 2, 8), (2, 2, 3), ((1,), (2,), (0,), (1,)), 1),
    ]
    return [
        Example(
            (TensorType(dtype, x), TensorType(dtype, w)),
            {**dict(zip(GEOMETRY, geometry, strict=True)), "groups": groups},
        )
        for x, w, geometry, groups in cases
    ]


_GEOMETRY = (
    AttributeDef("stride", "ints", "distance between windows, per axis"),
    AttributeDef("padding_low", "dims", "positions before the first, per axis"),
    AttributeDef("padding_high", "dims", "positions after the last, per axis"),
    AttributeDef("dilation", "ints", "distance between taps, per axis"),
)
CONV = register(
    OpDef(
        "conv",
        "y[n, o, i] = sum[c, p] x[n, c, i*stride + p*dilation - low] * w[o, c, p]",
        ("x", "w"),
        (*_GEOMETRY, AttributeDef("groups", "int", "independent groups of channels")),
        _infer_conv,
        _conv,
        _conv_gradient,
        _conv_body,
        _conv_examples,
    )
)


# window_max, window_sum


def _infer_window(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    (x,) = types
    takes(x, not x.dtype.is_bool, "numbers")
    per_axis("window", attributes["window"], x.rank)
    positive("window", attributes["window"])
    _check_geometry(attributes, x.rank)
    return (x.with_shape(_output_shape(x.shape, attributes["window"], attributes)),)


def _window_body(
    kind: str,
) -> Callable[[Types, Attributes, Types], tuple[Formula, ...]]:
    def body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
        (x,), (y,) = types, results
        names = Names(x.shape, y.shape)
        outer, every = names.axes(y.shape), names.axes(attributes["window"], "pqrstu")
        inner = tuple(axis for axis in every if axis.extent != 1)
        taps = [index(0) if axis.extent == 1 else Var(axis.name) for axis in every]
        sites, guard = _sites(variables(outer), taps, x.shape, attributes)
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
    sources, guard = _sources(at, taps, dy.type.shape, op.attributes)
    value = Reduce("sum", inner, load("x0", sources, dy.type.dtype), guard)
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
    sites, guard = _sites(variables(outer), variables(inner), x.type.shape, op.attributes)
    one, zero = Const(1, dtype.compute), Const(0, dtype.compute)
    equal = Binary("eq", load("x0", sites, dtype), load("x1", variables(outer), dtype))
    count = Reduce("sum", inner, Select(equal, one, zero), guard)
    counted = index_op(b, Formula(outer, narrow(count, dtype)), [x, op.result])
    share = b.op("div", [dy, counted])
    names = Names(x.type.shape, dy.type.shape)
    outer, inner = names.axes(x.type.shape), names.axes(op.attributes["window"], "pqrstu")
    sources, guard = _sources(variables(outer), variables(inner), dy.type.shape, op.attributes)
    equal = Binary("eq", load("x0", variables(outer), dtype), load("x1", sources, dtype))
    term = Select(equal, load("x2", sources, dtype), zero)
    value = narrow(Reduce("sum", inner, term, guard), dtype)
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
            (AttributeDef("window", "ints", "the window, per axis"), *_GEOMETRY),
            _infer_window,
            _window_reference(_kind),
            _gradient,
            _window_body(_kind),
            _window_examples,
        )
    )
