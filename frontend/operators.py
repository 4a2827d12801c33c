"""Operators on tensors: NumPy's alignment of trailing axes, with explicit broadcasts.

    x + b    f32[N, 128] + f32[128]  →  %0 = broadcast(%b) {shape = [N, 128], axes = [1]}
                                        %1 = add(%x, %0)

Only a literal 1 broadcasts. There is no promotion of dtypes: number literals take the tensor's.
"""

from __future__ import annotations

from typing import Any

from stepwell.frontend import dims
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.element_types import check_literal, same_dtype
from stepwell.frontend.elements import scalar_binary, scalar_unary
from stepwell.frontend.matmul import matmul
from stepwell.frontend.numbers import SCALAR_OPS, number_value, static_binary, static_unary
from stepwell.frontend.values import Deferred, Origin, Scalar, Tensor, is_number, kind_of
from stepwell.ir.diagnostics import Label
from stepwell.ir.dtypes import BOOL, F64, I64, DType
from stepwell.ir.size import Dim, Size
from stepwell.ir.span import Span

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def binary(
    e: Elaboration, op: str, left: Any, right: Any, span: Span, spans: tuple[Span, Span]
) -> Any:
    """`left op right` for any two values; `op` as written, or the name of a scalar operation."""
    if isinstance(left, Scalar) or isinstance(right, Scalar):
        return scalar_binary(e, op, left, right, span, spans)
    if not isinstance(left, Tensor) and not isinstance(right, Tensor):
        return static_binary(e, op, left, right, span)
    if op == "@":
        return matmul(e, left, right, span, spans)
    if op == "**" and isinstance(left, Tensor) and _is_small_power(right):
        return _multiplied(e, left, right, span, spans)
    x, y = together(e, op, left, right, spans)
    return _apply(e, op, x, y, span, spans)


def _is_small_power(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4


def _multiplied(
    e: Elaboration, x: Tensor, power: int, span: Span, spans: tuple[Span, Span]
) -> Tensor:
    """x**2 = x*x, x**3 = x*x*x, x**4 = (x*x)*(x*x): exact for integers, faster for floats."""
    square = x if power == 1 else _apply(e, "*", x, x, span, spans)
    if power < 3:
        return square
    return _apply(e, "*", square, x if power == 3 else square, span, spans)


def _apply(
    e: Elaboration, op: str, x: Tensor, y: Tensor, span: Span, spans: tuple[Span, Span]
) -> Tensor:
    dtype = x.dtype
    if op in ("and", "or") and not dtype.is_bool:
        e.fail(
            "SW0213", f"`{op}` takes bools, not {dtype}", span, help="compare first, as in `x != 0`"
        )
    if op == "/" and not dtype.is_float:
        e.fail_labels(
            "SW0212",
            f"`/` divides floats, not {dtype}",
            [Label(spans[0], x.describe()), Label(spans[1], y.describe())],
            help="`//` divides whole numbers and rounds down; or `cast(x, f32)` first",
        )
    if dtype.is_bool and op in ("+", "-", "*", "//", "%", "**"):
        e.fail_labels(
            "SW0213",
            f"`{op}` does not take bools",
            [Label(spans[0], x.describe()), Label(spans[1], y.describe())],
            help="`cast(x, i32)` gives 0 and 1; bools take and, or, not",
        )
    shape = common_shape(e, [x, y], spans, f"`{op}`")
    x, y = (broadcast(e, t, shape, s) for t, s in zip((x, y), spans, strict=True))
    name = SCALAR_OPS.get(op, op)
    return e.emit(name, [x, y], span=span, spans=spans, what=f"`{op}`")


def together(
    e: Elaboration, op: str, left: Any, right: Any, spans: tuple[Span, Span]
) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of one dtype: a number adapts to the tensor it meets."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        same_dtype(e, op, left, right, spans)
        return left, right
    if isinstance(left, Tensor):
        return left, number_tensor(e, right, left.dtype, left.shape, spans[1], left)
    y: Tensor = as_tensor(e, right, spans[1])
    return number_tensor(e, left, y.dtype, y.shape, spans[0], y), y


def as_tensor(e: Elaboration, value: Any, span: Span) -> Tensor:
    """A tensor, or a mistake."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Scalar):
        e.fail(
            "SW0604",
            "one element of a formula is not a tensor",
            span,
            help="inside index notation only element-wise functions can take elements",
        )
    e.fail("SW0213", f"expected a tensor, found {kind_of(value)}", span)


def number_tensor(
    e: Elaboration,
    value: Any,
    dtype: DType,
    shape: tuple[Dim, ...],
    span: Span,
    beside: Tensor | None = None,
) -> Tensor:
    """A number known at compile time as a tensor of the given dtype and shape."""
    value = number_value(value)
    if not is_number(value):
        e.fail("SW0213", f"expected a tensor or a number, found {kind_of(value)}", span)
    if isinstance(value, (Size, Deferred)):
        return broadcast(e, _deferred(e, value, dtype, span), shape, span)
    check_literal(e, value, dtype, span, beside)
    shown = Origin(span, f"the number {str(value).lower()}")
    plain: Any = float(value) if dtype.is_float else bool(value) if dtype.is_bool else int(value)
    constant = e.emit("constant", span=span, value=plain, dtype=dtype, shape=tuple(shape))
    return Tensor(constant.value, shown)


def _deferred(e: Elaboration, value: Any, dtype: DType, span: Span) -> Tensor:
    """A number computed from sizes, in float64 where it is not a size, then cast."""
    if isinstance(value, Size):
        if dtype.is_bool:
            e.fail("SW0214", f"the size `{value}` is not a bool", span)
        exact = e.emit("dim", span=span, value=value)
        return exact if dtype == I64 else e.emit("cast", [exact], span=span, dtype=dtype)
    result = _deferred_f64(e, value, span)
    if result.dtype.is_bool != dtype.is_bool or not (dtype.is_float or dtype.is_bool):
        e.fail(
            "SW0214",
            f"`{value}` does not fit the element type {dtype}",
            span,
            help="`//` divides sizes and rounds down",
        )
    return result if result.dtype == dtype else e.emit("cast", [result], span=span, dtype=dtype)


def _deferred_f64(e: Elaboration, value: Any, span: Span) -> Tensor:
    if isinstance(value, bool):
        return e.emit("constant", span=span, value=value, dtype=BOOL, shape=())
    if isinstance(value, (int, float)):
        return e.emit("constant", span=span, value=float(value), dtype=F64, shape=())
    if isinstance(value, Size):
        return e.emit("cast", [e.emit("dim", span=span, value=value)], span=span, dtype=F64)
    operands = [_deferred_f64(e, operand, span) for operand in value.operands]
    return e.emit(value.op, operands, span=span)


def broadcast(e: Elaboration, x: Tensor, shape: tuple[Dim, ...], span: Span) -> Tensor:
    """`x` stretched to a shape with which it has been checked to agree."""
    if x.shape == tuple(shape):
        return x
    lead = len(shape) - len(x.shape)
    own = tuple(1 if a == 1 else b for a, b in zip(x.shape, shape[lead:], strict=True))
    x = dims.retyped(e, x, own, span)
    if own == tuple(shape):
        return x
    axes = tuple(range(lead, len(shape)))
    result = e.emit("broadcast", [x], span=span, spans=[span], shape=tuple(shape), axes=axes)
    return Tensor(result.value, x.origin)


def common_shape(
    e: Elaboration, tensors: list[Tensor], spans: tuple[Span, ...] | list[Span], what: str
) -> tuple[Dim, ...]:
    """The shape that tensors have together, trailing axes aligned."""
    rank = max(len(t.shape) for t in tensors)
    shape: list[Dim] = []
    for axis in range(-rank, 0):
        found: Dim = 1
        owner = 0
        for i, tensor in enumerate(tensors):
            if len(tensor.shape) < -axis or tensor.shape[axis] == 1:
                continue
            dim = tensor.shape[axis]
            if found == 1:
                found, owner = dim, i
            elif not dims.agree(e, found, dim, spans[i]):
                _shapes_differ(e, tensors, spans, what, (owner, i), axis)
        shape.append(found)
    return tuple(shape)


def _shapes_differ(
    e: Elaboration, tensors: list[Tensor], spans: Any, what: str, at: tuple[int, int], axis: int
) -> None:
    left, right = tensors[at[0]], tensors[at[1]]
    a, b = left.shape[axis], right.shape[axis]
    e.fail_labels(
        "SW0201",
        f"{what}: the shapes do not fit, {a} and {b} on axis {axis}",
        [Label(spans[at[0]], left.describe()), Label(spans[at[1]], right.describe())],
        help=dims.hint_same_name(a, b) or "only an axis of size 1 stretches to another size",
    )


def unary(e: Elaboration, name: str, value: Any, span: Span, operand: Span) -> Any:
    """neg, not, exp, … of any value."""
    if isinstance(value, Scalar):
        return scalar_unary(e, name, value, span)
    if not isinstance(value, Tensor):
        return static_unary(e, name, value, span)
    if name == "not" and not value.dtype.is_bool:
        e.fail(
            "SW0213",
            f"`not` takes bools, not {value.dtype}",
            operand,
            value.describe(),
            help="compare first, as in `x == 0`",
        )
    if name == "neg" and value.dtype.is_bool:
        e.fail("SW0213", "`-` does not take bools", operand, value.describe(), help="use `not`")
    what = {"neg": "`-`", "not": "`not`"}.get(name, name)
    return e.emit(name, [value], span=span, spans=[operand], what=what)
