"""Index notation: a formula in the source becomes an `index` op whose attribute is a `Formula`.

    [i, j] -> sum[k] a[i, k] * b[k, j]
        →  index(%a, %b) {formula = [i: N, j: M] -> sum[k: K] x0[i, k] * x1[k, j]}

The body is evaluated once, with every index an i64 `Scalar`; what it subscripts becomes a `Load`.
Extents that are not declared are then solved from the uses, and every use is checked to stay in its
axis. Tensors computed from nothing that depends on an index stay outside, as operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepwell.frontend import dims as rules
from stepwell.frontend import extents
from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.elements import AxisInfo, FormulaState, element, scalar_of
from stepwell.frontend.evaluation import evaluate, evaluates
from stepwell.frontend.numbers import as_dim
from stepwell.frontend.ranges import facts_of
from stepwell.frontend.values import Scalar, Tensor
from stepwell.ir import scalar
from stepwell.ir.dtypes import BOOL, I64
from stepwell.ir.scalar import Axis, Binary, Cast, Const, Expr, Formula, Reduce, Var
from stepwell.ir.size import Atom, Dim, Size


@evaluates(s.Notation)
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
    outer = e.frame.lookup(axis.name)
    if axis.name in scope or (isinstance(outer, Scalar) and outer.state is state):
        e.fail("SW0606", f"the index `{axis.name}` is named twice", axis.span)
    extent: Dim | None = None
    if axis.size is not None:
        formula, e.formula = e.formula, None
        try:
            value = evaluate(e, axis.size)
        finally:
            e.formula = formula
        if isinstance(value, Scalar):
            e.fail(
                "SW0606",
                "the size of an index cannot depend on another index",
                axis.size.span,
                help="bound it with `where`",
            )
        extent = as_dim(e, value, axis.size.span, f"the size of `{axis.name}`")
        rules.require_nonnegative(e, extent, axis.size.span, f"`{axis.name}`")
    info = state.declare(axis.name, extent, axis.span)
    scope[axis.name] = Scalar(Var(info.name, I64), state)
    return info


@evaluates(s.Reduction)
def reduction(e: Elaboration, node: s.Reduction) -> Scalar | Tensor:
    """`kind[axes where guard] body` inside a formula; outside of one, a formula without indices."""
    state = e.formula
    if state is None:
        whole: Tensor = notation(e, s.Notation(node.span, (), node))
        return whole
    facts = len(state.facts)
    e.frame.scopes.append({})
    try:
        infos = [_declare(e, state, axis) for axis in node.axes]
        if not infos:
            e.fail(
                "SW0606",
                f"`{node.kind}` needs an index",
                node.span,
                help=f"as in `{node.kind}[k] x[k]`",
            )
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
        return element(e, _mean(state, axes, body, guard), state, node.span)
    if node.kind.startswith("arg") and len(axes) > 1:
        e.fail("SW0606", f"`{node.kind}` takes one index, not {len(axes)}", node.span)
    return element(e, Reduce(node.kind, axes, body, guard), state, node.span)


_UNKNOWN = (Atom("symbol", "?"),)


def _guard(e: Elaboration, state: FormulaState, node: s.Expr | None) -> Expr | None:
    if node is None:
        return None
    guard = scalar_of(e, state, evaluate(e, node), BOOL, node.span)
    if guard.dtype != BOOL:
        e.fail(
            "SW0607",
            f"a guard is a condition, not {guard.dtype}",
            node.span,
            help="compare, as in `where i - k >= 0`",
        )
    return guard


def _check_body(e: Elaboration, node: s.Reduction, body: Expr) -> None:
    wants_bool = node.kind in ("any", "all")
    if wants_bool != (body.dtype == BOOL) and (wants_bool or node.kind in ("sum", "prod", "mean")):
        help = "compare, as in `all[i] x[i] > 0`"
        help = help if wants_bool else "`cast(…, i64)` first"
        e.fail("SW0213", f"`{node.kind}` does not take {body.dtype}", node.body.span, help=help)
    if node.kind == "mean" and not body.dtype.is_float:
        e.fail(
            "SW0213",
            f"`mean` takes floats, not {body.dtype}",
            node.body.span,
            help="`cast(…, f32)` first",
        )


def _mean(state: FormulaState, axes: tuple[Axis, ...], body: Expr, guard: Expr | None) -> Expr:
    """The sum over the number of terms; with a guard, the terms inside it."""
    total = Reduce("sum", axes, body, guard)
    if guard is None:
        name = f"#count {axes[0].name}"
        state.counts[name] = tuple(axis.name for axis in axes)
        count: Expr = Var(name, I64)
    else:
        twins = {
            axis.name: state.declare(axis.name, None, state.axes[axis.name].span) for axis in axes
        }
        for name, twin in twins.items():
            twin.extent = state.axes[name].extent
            state.counts[f"#twin {twin.name}"] = (name,)
        renamed = scalar.substitute(guard, {n: Var(t.name, I64) for n, t in twins.items()})
        own = tuple(replace(axis, name=twins[axis.name].name) for axis in axes)
        count = Reduce("sum", own, Const(1, I64), renamed)
    return Binary("div", total, Cast(count, body.dtype))
