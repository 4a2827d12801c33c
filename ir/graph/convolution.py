"""`conv`: the convolution of networks, with one to three spatial axes.

    %y = conv(%x, %w) {stride = [1], padding_low = [1], padding_high = [1], dilation = [1],
                       groups = 1} : f32[N, 8, 64]
         [n: N, o: 8, i: 64] -> sum[c: 3, p: 3] x[n, c, i + p - 1 | …] * w[o, c, p]

Outside the input it reads 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product as positions

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.body import (
    Names,
    arithmetic,
    load,
    narrow,
    plus,
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
    INNER,
    RANK,
    positive,
    refuse,
    same_dtype,
    takes,
)
from stepwell.ir.graph.selection import part
from stepwell.ir.scalar import Axis, Binary, Expr, Formula, Reduce
from stepwell.ir.size import Dim, floordiv, mod, provably_le, symbol
from stepwell.ir.text import format_dim
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Shape = tuple[Dim, ...]
N = symbol("N")
MOST_GROUPS = 16  # for each of which the gradient has a formula of its own


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
    check_geometry(attributes, x.rank - 2)
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
    spatial = output_shape(x.shape[2:], w.shape[2:], attributes)
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
    sites, guard = input_sites(at, taps, x.shape[2:], attributes)
    channel = _channel(o, c, w, attributes["groups"])
    value = load("x", (n, channel, *sites), x.dtype, guard)
    weight = load("w", (o, c, *taps), x.dtype)
    return result(outer, Reduce("sum", inner, Binary("mul", value, weight)), x.dtype)


def _conv_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    (dy,) = cotangents
    padding = _turned_padding(op)
    dx = _conv_dx(b, op, dy) if padding is None else _turned_conv(b, op, dy, *padding)
    groups, per_group = op.attributes["groups"], op.operands[1].type.shape[1]
    if 1 < groups <= MOST_GROUPS and per_group != 1:
        return [dx, _dw_by_groups(b, op, dy)]
    return [dx, _conv_dw(b, op, dy)]


def _turned_padding(op: Op) -> tuple[Shape, Shape] | None:
    """The padding with which dx is itself a convolution of dy: where the stride is 1, and no more
    positions were added to x than the windows reach back for."""
    geometry = (op.attributes[name] for name in ("padding_low", "padding_high", "dilation"))
    taps = op.operands[1].type.shape[2:]
    if any(stride != 1 for stride in op.attributes["stride"]):
        return None
    low: list[Dim] = []
    high: list[Dim] = []
    for tap, before, after, dilation in zip(taps, *geometry, strict=True):
        reach = dilation * (tap - 1)
        if not (provably_le(before, reach) and provably_le(after, reach)):
            return None
        low.append(reach - before)
        high.append(reach - after)
    return tuple(low), tuple(high)


def _turned_conv(b: GraphBuilder, op: Op, dy: Value, low: Shape, high: Shape) -> Value:
    """dx = conv(dy, w'), the weights with their channels swapped and their taps reversed."""
    w, groups = op.operands[1], op.attributes["groups"]
    outputs, inputs, *taps = w.type.shape
    axes = tuple(range(2, len(taps) + 2))
    if groups == 1:
        w = b.op("transpose", [w], permutation=(1, 0, *axes))
    elif inputs != 1 or outputs != groups:
        per_group = floordiv(outputs, groups)
        w = b.op("reshape", [w], shape=(groups, per_group, inputs, *taps))
        w = b.op("transpose", [w], permutation=(0, 2, 1, *(axis + 1 for axis in axes)))
        w = b.op("reshape", [w], shape=(groups * inputs, per_group, *taps))
    turned = tuple(axis for axis, tap in zip(axes, taps, strict=True) if tap != 1)
    if turned:
        w = b.op("reverse", [w], axes=turned)
    geometry = {"padding_low": low, "padding_high": high}
    return b.op("conv", [dy, w], **{**op.attributes, **geometry})


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
    sources, exact, guard = output_sources(at, taps, dy.type.shape[2:], op.attributes)
    term = Binary(
        "mul",
        load("x0", (n, channel, *sources), x.dtype, guard),
        load("x1", (channel, within, *taps), x.dtype),
    )
    value = narrow(Reduce("sum", inner, term, exact), x.dtype)
    return index_op(b, Formula(outer, value), [dy, wv])


def _dw_by_groups(b: GraphBuilder, op: Op, dy: Value) -> Value:
    """The gradients of the groups' weights, one after the other."""
    (x, w), groups = op.operands, op.attributes["groups"]
    inputs, outputs = w.type.shape[1], floordiv(w.type.shape[0], groups)
    pieces: list[Value] = []
    for group in range(groups):
        image = part(b, x, 1, group * inputs, inputs)
        weights = part(b, w, 0, group * outputs, outputs)
        cotangent = part(b, dy, 1, group * outputs, outputs)
        attributes = {**op.attributes, "groups": 1}
        alone = replace(op, operands=(image, weights), attributes=attributes, results=(cotangent,))
        pieces.append(_conv_dw(b, alone, cotangent))
    return b.op("concat", pieces, axis=0)


def _conv_dw(b: GraphBuilder, op: Op, dy: Value) -> Value:
    """dw[o, c, p] = sum[n, i] dy[n, o, i] * x[n, c, i*stride + p*dilation - low]

    Outside the input x is 0, as it is for the convolution.
    """
    xv, wv = op.operands
    x, w = xv.type, wv.type
    names = Names(x.shape, w.shape, dy.type.shape)
    outer = names.axes(w.shape, "ocpqr")
    inner = names.axes((dy.type.shape[0], *dy.type.shape[2:]), "nijk")
    (o, c, *taps), (n, *at) = variables(outer), variables(inner)
    sites, guard = input_sites(at, taps, x.shape[2:], op.attributes)
    channel = _channel(o, c, w, op.attributes["groups"])
    term = Binary(
        "mul", load("x0", (n, o, *at), x.dtype), load("x1", (n, channel, *sites), x.dtype, guard)
    )
    value = narrow(Reduce("sum", inner, term), x.dtype)
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


CONV = register(
    OpDef(
        "conv",
        "y[n, o, i] = sum[c, p] x[n, c, i*stride + p*dilation - low] * w[o, c, p]",
        ("x", "w"),
        (*GEOMETRY_ATTRIBUTES, AttributeDef("groups", "int", "independent groups of channels")),
        _infer_conv,
        _conv,
        _conv_gradient,
        _conv_body,
        _conv_examples,
    )
)
