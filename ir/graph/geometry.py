"""Where windows lie: sizes, padding, strides and dilation, for `conv` and the pooling operators.

Along one axis, output i reads input i*stride + p*dilation - padding_low at tap p.

    output_size(8, 3, stride=2, low=1, high=1, dilation=1)  →  4
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.ir.graph.body import (
    arithmetic,
    both,
    inside,
    plus,
)
from stepwell.ir.graph.core import AttributeDef, Attributes
from stepwell.ir.graph.rules import (
    nonnegative,
    per_axis,
    positive,
    refuse,
)
from stepwell.ir.scalar import Binary, Expr, index
from stepwell.ir.size import Dim, floordiv, provably_le, symbol
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


def check_geometry(attributes: Attributes, count: int) -> None:
    for name in GEOMETRY:
        per_axis(name, attributes[name], count)
    positive("stride", attributes["stride"])
    positive("dilation", attributes["dilation"])
    nonnegative("the padding", (*attributes["padding_low"], *attributes["padding_high"]))


def output_shape(sizes: Shape, window: Shape, attributes: Attributes) -> Shape:
    parts = (attributes[name] for name in GEOMETRY)
    return tuple(output_size(*part) for part in zip(sizes, window, *parts, strict=True))


def input_sites(
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


def output_sources(
    inputs: Sequence[Expr], taps: Sequence[Expr], outputs: Shape, attributes: Attributes
) -> tuple[list[Expr], Expr | None, Expr | None]:
    """The output positions whose window covers an input position at a tap; whether there are any
    (the stride divides), and the guard that keeps them inside the output."""
    found: list[Expr] = []
    exact: Expr | None = None
    guard: Expr | None = None
    names = (attributes[name] for name in ("stride", "padding_low", "dilation"))
    for at, tap, size, stride, low, dilation in zip(inputs, taps, outputs, *names, strict=True):
        offset = arithmetic("sub", plus(at, low), arithmetic("mul", tap, dilation))
        source = arithmetic("floordiv", offset, stride)
        found.append(source)
        guard = both(guard, inside(source, size))
        if stride != 1:
            exact = both(exact, Binary("eq", arithmetic("mod", offset, stride), index(0)))
    return found, exact, guard


def static(shape: Shape) -> list[int]:
    """The numbers of a shape without symbols."""
    return [dim for dim in shape if isinstance(dim, int)]


GEOMETRY_ATTRIBUTES = (
    AttributeDef("stride", "ints", "distance between windows, per axis"),
    AttributeDef("padding_low", "dims", "positions before the first, per axis"),
    AttributeDef("padding_high", "dims", "positions after the last, per axis"),
    AttributeDef("dilation", "ints", "distance between taps, per axis"),
)
