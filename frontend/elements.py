"""Elements: what tensors become inside index notation.

    x[i + 1, j] * 2 - cast(i, f32)   with indices i, j   →   one scalar expression with a `Load`

A `FormulaState` collects the formula's indices, the tensors that it loads, and every subscript by
integer arithmetic with the guards around it, so that extents can be solved and checked afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.element_types import check_literal
from stepwell.frontend.limits import MAX_FORMULA
from stepwell.frontend.numbers import SCALAR_OPS, as_dim, number_value
from stepwell.frontend.values import Deferred, Scalar, Tensor, is_number, kind_of
from stepwell.ir import scalar
from stepwell.ir.diagnostics import Label
from stepwell.ir.dtypes import BOOL, F32, F64, I64, DType
from stepwell.ir.scalar import Binary, Cast, Const, Expr, Load, Unary, Var
from stepwell.ir.size import Dim, Size
from stepwell.ir.span import Span


@dataclass
class AxisInfo:
    """An index: its unique name in the formula, and its extent once that is known."""

    name: str
    shown: str
    extent: Dim | None
    span: Span


@dataclass(frozen=True)
class Use:
    """A subscript by integer arithmetic on indices: `place` must lie in 0 .. dim - 1."""

    place: Dim
    dim: Dim
    axis: int
    tensor: Tensor
    span: Span
    facts: tuple[Dim, ...]


@dataclass(eq=False)
class FormulaState:
    """One formula being read."""

    taken: set[str]
    axes: dict[str, AxisInfo] = field(default_factory=dict)
    operands: list[Tensor] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    facts: list[Dim] = field(default_factory=list)
    counts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def declare(self, name: str, extent: Dim | None, span: Span) -> AxisInfo:
        """A new index, under a name of its own."""
        unique, count = name, 1
        while unique in self.taken:
            count += 1
            unique = f"{name}_{count}"
        self.taken.add(unique)
        info = AxisInfo(unique, name, extent, span)
        self.axes[unique] = info
        return info

    def operand(self, tensor: Tensor) -> str:
        """The name under which a tensor is loaded."""
        for i, known in enumerate(self.operands):
            if known.value == tensor.value:
                return f"x{i}"
        self.operands.append(tensor)
        return f"x{len(self.operands) - 1}"


def load(e: Elaboration, x: Tensor, items: Sequence[tuple[Any, Any]], node: s.Index) -> Scalar:
    """`x[i, j + 1, table[k]]` inside a formula."""
    state = next(value.state for _, value in items if isinstance(value, Scalar))
    if state is not e.formula:
        _foreign(e, node.span)
    if len(items) != len(x.shape):
        e.fail(
            "SW0605",
            f"{len(items)} subscripts for {len(x.shape)} axes",
            node.span,
            x.describe(),
            help="inside index notation every axis has a subscript",
        )
    indices = [_place(e, state, x, i, item) for i, item in enumerate(items)]
    return element(e, Load(state.operand(x), tuple(indices), x.dtype), state, node.span)


def _place(
    e: Elaboration, state: FormulaState, x: Tensor, axis: int, item: tuple[Any, Any]
) -> Expr:
    node, value = item
    if isinstance(node, (s.Slice, s.Ellipsis)):
        e.fail(
            "SW0605",
            "a slice and an index do not mix",
            node.span,
            help="inside index notation every axis has a subscript of its own",
        )
    if isinstance(value, int) and value < 0:
        value = x.shape[axis] + value
    expr = scalar_of(e, state, value, I64, node.span)
    if not expr.dtype.is_int:
        e.fail("SW0605", f"a subscript is an integer, not {expr.dtype}", node.span)
    if expr.dtype != I64:
        expr = Cast(expr, I64)
    place = None if scalar.divides_by(expr, state.axes) else scalar.as_dim(expr)
    if place is not None:
        expr = scalar.from_dim(place)
        state.uses.append(Use(place, x.shape[axis], axis, x, node.span, tuple(state.facts)))
    return expr


def _foreign(e: Elaboration, span: Span) -> NoReturn:
    e.fail(
        "SW0604",
        "an index of another formula cannot be used here",
        span,
        help="bring both into one formula: `[i, j] -> …`",
    )


def scalar_of(
    e: Elaboration, state: FormulaState, value: Any, dtype: DType | None, span: Span
) -> Expr:
    """A value as a scalar expression; a number takes `dtype` (f32 or i64 where that is unknown)."""
    value = number_value(value)
    if isinstance(value, Deferred) and value.op == "div" and dtype is not None and dtype.is_int:
        value = as_dim(e, value, span)
    if isinstance(value, Scalar):
        if value.state is not state:
            _foreign(e, span)
        return value.expr
    if isinstance(value, Tensor):
        if value.shape:
            e.fail(
                "SW0605",
                f"a tensor of {len(value.shape)} axes stands where one element is needed",
                span,
                value.describe(),
                help="give it subscripts, as in `x[i]`",
            )
        return Load(state.operand(value), (), value.dtype)
    if isinstance(value, (Size, Deferred)):
        expr, found = _deferred(value), I64 if isinstance(value, Size) else F64
        if isinstance(value, Deferred) and expr.dtype == BOOL:
            return expr
        target = dtype or (I64 if isinstance(value, Size) else F32)
        if target.is_int and not isinstance(value, Size):
            e.fail("SW0214", f"`{value}` does not fit the element type {target}", span)
        return expr if target == found else Cast(expr, target)
    if not is_number(value):
        e.fail("SW0605", f"expected one element, found {kind_of(value)}", span)
    if dtype is None:
        dtype = BOOL if isinstance(value, bool) else I64 if isinstance(value, int) else F32
    check_literal(e, value, dtype, span)
    return Const(float(value) if dtype.is_float else value, dtype)


def _deferred(value: Any) -> Expr:
    """A size as i64; any other number computed from sizes in f64."""
    if isinstance(value, Size):
        return scalar.from_dim(value)
    if not isinstance(value, Deferred):
        return Const(
            value if isinstance(value, bool) else float(value),
            BOOL if isinstance(value, bool) else F64,
        )
    parts = [
        Cast(_deferred(x), F64) if isinstance(x, Size) else _deferred(x) for x in value.operands
    ]
    return Unary(value.op, parts[0]) if len(parts) == 1 else Binary(value.op, parts[0], parts[1])


def element(e: Elaboration, expr: Expr, state: FormulaState, span: Span) -> Scalar:
    """An element; its expression, written out as a tree, is bounded."""
    nodes = sum(1 for _ in islice(scalar.walk(expr), MAX_FORMULA + 1))
    if nodes > MAX_FORMULA:
        e.fail(
            "SW0502",
            f"this formula has more than {MAX_FORMULA} operations",
            span,
            help="compute a part of it as a tensor of its own",
        )
    return Scalar(expr, state)


def scalar_binary(
    e: Elaboration, op: str, left: Any, right: Any, span: Span, spans: tuple[Span, Span]
) -> Scalar:
    """`left op right` where at least one is an element of a formula."""
    state = _state(e, (left, right), span)
    if op == "@":
        e.fail("SW0604", "`@` multiplies tensors, not elements", span, help="use `*` and `sum`")
    x, y = _pair(e, state, op, left, right, spans)
    if op == "**" and isinstance(right, int) and right == 2 and _cheap(x):
        return element(e, Binary("mul", x, x), state, span)
    name = SCALAR_OPS.get(op, op)
    logic = name in ("and", "or")
    if logic != (x.dtype == BOOL) and (logic or name not in scalar.COMPARISONS):
        e.fail("SW0213", f"`{op}` does not take {x.dtype}", span)
    if name == "div" and not x.dtype.is_float:
        e.fail(
            "SW0212",
            f"`/` divides floats, not {x.dtype}",
            span,
            help="`//` divides whole numbers and rounds down; or `cast(i, f32)` first",
        )
    if name in ("floordiv", "mod") and y == Const(0, I64):
        e.fail("SW0501", "division by zero", span)
    return element(e, Binary(name, x, y), state, span)


def _state(e: Elaboration, values: Sequence[Any], span: Span) -> FormulaState:
    state: FormulaState = next(v.state for v in values if isinstance(v, Scalar))
    if state is not e.formula:
        _foreign(e, span)
    return state


def _pair(
    e: Elaboration, state: FormulaState, op: str, left: Any, right: Any, spans: tuple[Span, Span]
) -> tuple[Expr, Expr]:
    """Both operands as expressions of one dtype: numbers take the other's."""
    if is_number(left):
        y = scalar_of(e, state, right, None, spans[1])
        x = scalar_of(e, state, left, y.dtype, spans[0])
    else:
        x = scalar_of(e, state, left, None, spans[0])
        y = scalar_of(e, state, right, x.dtype, spans[1])
    x, y = _adapted(x, y.dtype), _adapted(y, x.dtype)
    if x.dtype != y.dtype:
        wanted = x.dtype if x.dtype.is_float else y.dtype
        e.fail_labels(
            "SW0211",
            f"`{op}` mixes {x.dtype} and {y.dtype}",
            [Label(spans[0], _element(x, left)), Label(spans[1], _element(y, right))],
            help=f"cast one of them: `cast(…, {wanted})`",
        )
    return x, y


def _adapted(expr: Expr, dtype: DType) -> Expr:
    """A choice between whole number literals takes the dtype that it meets, as one literal does."""
    if not dtype.is_float or not isinstance(expr, scalar.Select) or expr.dtype != I64:
        return expr
    x, y = (
        Const(float(part.value), dtype) if isinstance(part, Const) else _adapted(part, dtype)
        for part in (expr.x, expr.y)
    )
    same = x.dtype == dtype and y.dtype == dtype
    return scalar.Select(expr.condition, x, y) if same else expr


def _element(expr: Expr, value: Any) -> str:
    if isinstance(expr, Var):
        return "an index, i64"
    return value.describe() if isinstance(value, Tensor) else str(expr.dtype)


def _cheap(expr: Expr) -> bool:
    """Whether an expression may be written twice: it holds no reduction."""
    return not any(isinstance(part, scalar.Reduce) for part in scalar.walk(expr))


def scalar_unary(e: Elaboration, name: str, value: Scalar, span: Span) -> Scalar:
    """neg, not, exp, … of an element."""
    state = _state(e, (value,), span)
    if (name == "not") != (value.dtype == BOOL):
        shown = {"neg": "-"}.get(name, name)
        e.fail("SW0213", f"`{shown}` does not take {value.dtype}", span)
    if (name in scalar.FLOAT_UNARY or name in scalar.PREDICATES) and not value.dtype.is_float:
        e.fail(
            "SW0213", f"`{name}` takes floats, not {value.dtype}", span, help="`cast(…, f32)` first"
        )
    if name == "neg" and value.dtype == I64:
        return element(e, Binary("sub", Const(0, I64), value.expr), state, span)
    return element(e, Unary(name, value.expr), state, span)


def scalar_select(
    e: Elaboration, values: tuple[Any, Any, Any], span: Span, spans: tuple[Span, Span, Span]
) -> Scalar:
    """`select` on elements. It chooses between values; it does not guard what is read."""
    state = _state(e, values, span)
    test = scalar_of(e, state, values[0], BOOL, spans[0])
    if test.dtype != BOOL:
        e.fail("SW0213", f"select: the condition must be bool, not {test.dtype}", spans[0])
    a, b = _pair(e, state, "select", values[1], values[2], (spans[1], spans[2]))
    return element(e, scalar.Select(test, a, b), state, span)
