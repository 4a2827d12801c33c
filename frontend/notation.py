"""Index notation: a formula in the source becomes an `index` op whose attribute is a `Formula`.

    [i, j] -> sum[k] a[i, k] * b[k, j]
        →  index(%a, %b) {formula = [i: N, j: M] -> sum[k: K] x0[i, k] * x1[k, j]}

The body is evaluated once, with every index an i64 `Scalar`; what it subscripts becomes a `Load`.
Extents that are not declared are then solved from the uses, and every use is checked to stay in its
axis. Tensors computed from nothing that depends on an index stay outside, as operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from stepwell.frontend import dims as rules
from stepwell.frontend import extents
from stepwell.frontend import syntax as s
from stepwell.frontend.builtins import BuiltinCall
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.expressions import evaluate
from stepwell.frontend.numbers import SCALAR_OPS, as_dim, number_value
from stepwell.frontend.operators import check_literal
from stepwell.frontend.ranges import facts_of
from stepwell.frontend.subscripts import Item
from stepwell.frontend.values import Deferred, Scalar, Tensor, is_dim, is_number, kind_of
from stepwell.ir import scalar
from stepwell.ir.diagnostics import Label
from stepwell.ir.dtypes import BOOL, F32, F64, I64, DType
from stepwell.ir.scalar import Axis, Binary, Cast, Const, Expr, Formula, Load, Reduce, Unary, Var
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


def notation(e: Elaboration, node: s.Notation) -> Tensor:
    """`[axes] -> body` as one `index` op."""
    outer = e.formula
    state = FormulaState(set(_symbols(e)))
    e.frame.scopes.append({})
    try:
        axes = [_declare(e, state, axis) for axis in node.axes]
        e.formula = state
        body = scalar_of(e, state, evaluate(e, node.body), None, node.body.span)
    finally:
        e.formula = outer
        e.frame.scopes.pop()
    extents.solve(e, state)
    extents.check(e, state)
    formula = Formula(
        tuple(Axis(a.name, extents.known(e, a)) for a in axes), extents.resolved(e, state, body)
    )
    return e.emit("index", state.operands, span=node.span, what="index notation", formula=formula)


def _symbols(e: Elaboration) -> Sequence[str]:
    return [*e.builder.sizes, *(f"x{i}" for i in range(64))]


def _declare(e: Elaboration, state: FormulaState, axis: s.AxisDecl) -> AxisInfo:
    scope = e.frame.scopes[-1]
    if axis.name in scope:
        e.fail("SW0606", f"the index `{axis.name}` is named twice", axis.span)
    extent: Dim | None = None
    if axis.size is not None:
        formula, e.formula = e.formula, None
        try:
            value = evaluate(e, axis.size)
        finally:
            e.formula = formula
        if isinstance(value, Scalar):
            e.fail("SW0606", "the size of an index cannot depend on another index", axis.size.span,
                   help="bound it with `where`")  # fmt: skip
        extent = as_dim(e, value, axis.size.span, f"the size of `{axis.name}`")
        rules.require_nonnegative(e, extent, axis.size.span, f"`{axis.name}`")
    info = state.declare(axis.name, extent, axis.span)
    scope[axis.name] = Scalar(Var(info.name, I64), state)
    return info


def reduction(e: Elaboration, node: s.Reduction) -> Scalar:
    """`kind[axes where guard] body` inside a formula."""
    state = e.formula
    assert state is not None, "a reduction outside of a formula is made one by the caller"
    facts = len(state.facts)
    e.frame.scopes.append({})
    try:
        infos = [_declare(e, state, axis) for axis in node.axes]
        if not infos:
            e.fail("SW0606", f"`{node.kind}` needs an index", node.span,
                   help=f"as in `{node.kind}[k] x[k]`")  # fmt: skip
        guard = _guard(e, state, node.guard)
        if guard is not None:
            state.facts += facts_of(guard)
        body = scalar_of(e, state, evaluate(e, node.body), None, node.body.span)
    finally:
        e.frame.scopes.pop()
        del state.facts[facts:]
    _check_body(e, node, body)
    axes = tuple(Axis(info.name, Size(((_UNKNOWN, 1),))) for info in infos)
    if node.kind == "mean":
        return Scalar(_mean(state, axes, body, guard), state)
    if node.kind.startswith("arg") and len(axes) > 1:
        e.fail("SW0606", f"`{node.kind}` takes one index, not {len(axes)}", node.span)
    return Scalar(Reduce(node.kind, axes, body, guard), state)


_UNKNOWN = (scalar.Atom("symbol", "?"),)


def _guard(e: Elaboration, state: FormulaState, node: s.Expr | None) -> Expr | None:
    if node is None:
        return None
    guard = scalar_of(e, state, evaluate(e, node), BOOL, node.span)
    if guard.dtype != BOOL:
        e.fail("SW0607", f"a guard is a condition, not {guard.dtype}", node.span,
               help="compare, as in `where i - k >= 0`")  # fmt: skip
    return guard


def _check_body(e: Elaboration, node: s.Reduction, body: Expr) -> None:
    wants_bool = node.kind in ("any", "all")
    if wants_bool != (body.dtype == BOOL) and (wants_bool or node.kind in ("sum", "prod", "mean")):
        help = "put the condition in parentheses: `all[i] (x[i] > 0)`"
        help = help if wants_bool else "`cast(…, i64)` first"
        e.fail("SW0213", f"`{node.kind}` does not take {body.dtype}", node.body.span, help=help)
    if node.kind == "mean" and not body.dtype.is_float:
        e.fail("SW0213", f"`mean` takes floats, not {body.dtype}", node.body.span,
               help="`cast(…, f32)` first")  # fmt: skip


def _mean(
    state: FormulaState, axes: tuple[Axis, ...], body: Expr, guard: Expr | None
) -> Expr:
    """The sum over the number of terms; with a guard, the terms inside it."""
    total = Reduce("sum", axes, body, guard)
    if guard is None:
        name = f"#count {axes[0].name}"
        state.counts[name] = tuple(axis.name for axis in axes)
        count: Expr = Var(name, I64)
    else:
        twins = {axis.name: state.declare(axis.name, None, state.axes[axis.name].span)
                 for axis in axes}  # fmt: skip
        for name, twin in twins.items():
            twin.extent = state.axes[name].extent
            state.counts[f"#twin {twin.name}"] = (name,)
        renamed = scalar.substitute(guard, {n: Var(t.name, I64) for n, t in twins.items()})
        own = tuple(replace(axis, name=twins[axis.name].name) for axis in axes)
        count = Reduce("sum", own, Const(1, I64), renamed)
    return Binary("div", total, Cast(count, body.dtype))


# elements


def load(e: Elaboration, x: Tensor, items: list[Item], node: s.Index) -> Scalar:
    """`x[i, j + 1, table[k]]` inside a formula."""
    state = next(item.value.state for item in items if isinstance(item.value, Scalar))
    if state is not e.formula:
        _foreign(e, node.span)
    if len(items) != len(x.shape):
        e.fail("SW0605", f"{len(items)} subscripts for {len(x.shape)} axes", node.span,
               x.describe(), help="inside index notation every axis has a subscript")  # fmt: skip
    indices = [_place(e, state, x, i, item) for i, item in enumerate(items)]
    return Scalar(Load(state.operand(x), tuple(indices), x.dtype), state)


def _place(e: Elaboration, state: FormulaState, x: Tensor, axis: int, item: Item) -> Expr:
    value = item.value
    if isinstance(item.node, (s.Slice, s.Ellipsis)):
        e.fail("SW0605", "a slice and an index do not mix", item.span,
               help="inside index notation every axis has a subscript of its own")  # fmt: skip
    if is_dim(value) and value == -1 or (isinstance(value, int) and value < 0):
        value = x.shape[axis] + value
    expr = scalar_of(e, state, value, I64, item.span)
    if not expr.dtype.is_int:
        e.fail("SW0605", f"a subscript is an integer, not {expr.dtype}", item.span)
    if expr.dtype != I64:
        expr = Cast(expr, I64)
    place = scalar.as_dim(expr)
    if place is not None:
        expr = scalar.from_dim(place)
        state.uses.append(
            Use(place, x.shape[axis], axis, x, item.span, tuple(state.facts))
        )
    return expr


def _foreign(e: Elaboration, span: Span) -> NoReturn:
    e.fail("SW0604", "an index of another formula cannot be used here", span,
           help="bring both into one formula: `[i, j] -> …`")  # fmt: skip


def scalar_of(
    e: Elaboration, state: FormulaState, value: Any, dtype: DType | None, span: Span
) -> Expr:
    """A value as a scalar expression; a number takes `dtype` (f32 or i64 where that is unknown)."""
    value = number_value(value)
    if isinstance(value, Scalar):
        if value.state is not state:
            _foreign(e, span)
        return value.expr
    if isinstance(value, Tensor):
        if value.shape:
            e.fail("SW0605", f"a tensor of {len(value.shape)} axes stands where one element is "
                             "needed", span, value.describe(),
                   help="give it subscripts, as in `x[i]`")  # fmt: skip
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
        return Const(value if isinstance(value, bool) else float(value),
                     BOOL if isinstance(value, bool) else F64)  # fmt: skip
    parts = [
        Cast(_deferred(x), F64) if isinstance(x, Size) else _deferred(x) for x in value.operands
    ]
    return Unary(value.op, parts[0]) if len(parts) == 1 else Binary(value.op, parts[0], parts[1])


# operators on elements


def scalar_binary(
    e: Elaboration, op: str, left: Any, right: Any, span: Span, spans: tuple[Span, Span]
) -> Scalar:
    """`left op right` where at least one is an element of a formula."""
    state = _state(e, (left, right), span)
    if op == "@":
        e.fail("SW0604", "`@` multiplies tensors, not elements", span, help="use `*` and `sum`")
    x, y = _pair(e, state, op, left, right, spans)
    name = SCALAR_OPS.get(op, op)
    logic = name in ("and", "or")
    if logic != (x.dtype == BOOL) and (logic or name not in scalar.COMPARISONS):
        e.fail("SW0213", f"`{op}` does not take {x.dtype}", span)
    if name == "div" and not x.dtype.is_float:
        e.fail("SW0212", f"`/` divides floats, not {x.dtype}", span,
               help="`//` divides whole numbers and rounds down; or `cast(i, f32)` first")  # fmt: skip
    if name in ("floordiv", "mod") and y == Const(0, I64):
        e.fail("SW0501", "division by zero", span)
    return Scalar(Binary(name, x, y), state)


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
            "SW0211", f"`{op}` mixes {x.dtype} and {y.dtype}",
            [Label(spans[0], _element(x, left)), Label(spans[1], _element(y, right))],
            help=f"cast one of them: `cast(…, {wanted})`")  # fmt: skip
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


def scalar_unary(e: Elaboration, name: str, value: Scalar, span: Span) -> Scalar:
    """neg, not, exp, … of an element."""
    state = _state(e, (value,), span)
    if (name == "not") != (value.dtype == BOOL):
        shown = {"neg": "-"}.get(name, name)
        e.fail("SW0213", f"`{shown}` does not take {value.dtype}", span)
    if (name in scalar.FLOAT_UNARY or name in scalar.PREDICATES) and not value.dtype.is_float:
        e.fail("SW0213", f"`{name}` takes floats, not {value.dtype}", span,
               help="`cast(…, f32)` first")  # fmt: skip
    if name == "neg" and value.dtype == I64:
        return Scalar(Binary("sub", Const(0, I64), value.expr), state)
    return Scalar(Unary(name, value.expr), state)


def scalar_select(call: BuiltinCall, condition: Any, x: Any, y: Any) -> Scalar:
    """`select` on elements. It chooses between values; it does not guard what is read."""
    e = call.e
    state = _state(e, (condition, x, y), call.span)
    test = scalar_of(e, state, condition, BOOL, call.where("condition"))
    if test.dtype != BOOL:
        call.fail("SW0213", f"the condition must be bool, not {test.dtype}", "condition")
    a, b = _pair(e, state, "select", x, y, (call.where("x"), call.where("y")))
    return Scalar(scalar.Select(test, a, b), state)
