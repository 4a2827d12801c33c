"""Extents of indices, solved from their uses; and the proof that every use stays in its axis.

    x[i + di, j] with di: 3 and x f32[H, W]   →   i: H - 2, j: W

An index used by itself as a subscript has that axis's size. Otherwise its extent is the largest for
which the subscript stays below the axis's size. Then every subscript is checked, guards included:
one that can leave its axis is a mistake; one that only the sizes can decide is checked on entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from stepwell.frontend import dims as rules
from stepwell.frontend import ranges
from stepwell.frontend.elaboration import Elaboration
from stepwell.ir import scalar, size
from stepwell.ir.diagnostics import Label
from stepwell.ir.scalar import Expr, Reduce, Var
from stepwell.ir.size import Dim

if TYPE_CHECKING:
    from stepwell.frontend.elements import AxisInfo, FormulaState, Use


def known(e: Elaboration, axis: AxisInfo) -> Dim:
    """The extent of an index, or a mistake."""
    if axis.extent is None:
        e.fail(
            "SW0603",
            f"the size of the index `{axis.shown}` cannot be told from its uses",
            axis.span,
            help=f"declare it: `{axis.shown}: N`",
        )
    return axis.extent


def solve(e: Elaboration, state: FormulaState) -> None:
    """Give every index an extent."""
    _by_itself(e, state)
    progress = True
    while progress:
        progress = sum(_solve_use(e, state, use) for use in state.uses) > 0
    for name, owners in state.counts.items():
        if name.startswith("#twin "):
            state.axes[name.removeprefix("#twin ")].extent = state.axes[owners[0]].extent


def _by_itself(e: Elaboration, state: FormulaState) -> None:
    """Indices that stand alone as a subscript."""
    first: dict[str, Use] = {}
    for use in state.uses:
        name = size.as_symbol(use.place)
        axis = state.axes.get(name) if name else None
        if name is None or axis is None:
            continue
        if axis.extent is None:
            axis.extent, first[name] = use.dim, use
        elif name in first and not rules.agree(e, axis.extent, use.dim, use.span):
            _disagree(e, axis, first[name], use)


def _disagree(e: Elaboration, axis: AxisInfo, one: Use, two: Use) -> NoReturn:
    e.fail_labels(
        "SW0608",
        f"the index `{axis.shown}` runs over {one.dim} and over {two.dim}",
        [Label(one.span, one.tensor.describe()), Label(two.span, two.tensor.describe())],
        help=rules.hint_same_name(one.dim, two.dim)
        or f"declare its size: `{axis.shown}: {one.dim}`",
    )


def _solve_use(e: Elaboration, state: FormulaState, use: Use) -> bool:
    """Solve the one unknown index of a subscript, where there is just one."""
    names = [n for n in size.symbols(use.place) if n in state.axes]
    unknown = [n for n in names if state.axes[n].extent is None]
    if len(unknown) != 1:
        return False
    (name,) = unknown
    factor = scalar.coefficient(use.place, name)
    if not isinstance(factor, int) or factor <= 0:
        return False
    box = _box(state)
    above = ranges.highest(use.place - factor * size.symbol(name), box)
    if above is None:
        return False
    room = use.dim - above  # factor * index <= room - 1
    extent = size.floordiv(room - 1, factor) + 1
    rules.require_nonnegative(e, extent, use.span, f"the index `{state.axes[name].shown}`")
    state.axes[name].extent = extent
    return True


def _box(state: FormulaState) -> dict[str, Dim]:
    return {name: axis.extent for name, axis in state.axes.items() if axis.extent is not None}


def check(e: Elaboration, state: FormulaState) -> None:
    """Check every subscript."""
    for axis in state.axes.values():
        known(e, axis)
    box = _box(state)
    for use in state.uses:
        _check_divisors(e, use, box)
        _check_side(e, use, box, use.place, low_side=True)
        _check_side(e, use, box, use.dim - 1 - use.place, low_side=False)


def _check_divisors(e: Elaboration, use: Use, box: dict[str, Dim]) -> None:
    """`x[k % M]` with M = 0 reads x[0], which may not exist: an index that runs over M itself (or
    a multiple of it) then has no values, otherwise M >= 1 is checked on entry."""
    extents = [extent for name, extent in box.items() if name in size.symbols(use.place)]
    for divisor in size.divisors(use.place):
        if size.provably_le(1, divisor) or set(box) & size.symbols(divisor):
            continue
        if all(size.exact_quotient(extent, divisor) is None for extent in extents):
            text = f"{divisor} divides a subscript of axis {use.axis}: it must be at least 1"
            e.constrain(1, "<=", divisor, text, use.span)


def _check_side(e: Elaboration, use: Use, box: dict[str, Dim], slack: Dim, low_side: bool) -> None:
    """`slack` is how far the subscript is from leaving its axis on one side."""
    if ranges.provably_nonnegative(slack, box, use.facts):
        return
    least = ranges.lowest(slack, box)
    if least is not None:
        least = rules.with_facts(e, least)
        if rules.nonnegative(least):
            return
    guarded = any(set(size.symbols(f)) & set(size.symbols(slack)) & set(box) for f in use.facts)
    open_question = least is not None and not isinstance(least, int) and not guarded
    if least is not None and open_question and not size.provably_le(least, -1):
        text = f"the subscript must stay in axis {use.axis} of {use.dim}"
        e.constrain(0, "<=", least, text, use.span)
        return
    _leaves(e, use, box)


def _leaves(e: Elaboration, use: Use, box: dict[str, Dim]) -> NoReturn:
    low, high = ranges.lowest(use.place, box), ranges.highest(use.place, box)
    if low is None or high is None:
        e.fail(
            "SW0601",
            f"this subscript cannot be shown to stay in its axis of {use.dim}",
            use.span,
            use.tensor.describe(),
            help="use sums of indices times constants, and `where` guards",
        )
    e.fail(
        "SW0601",
        f"this subscript runs from {low} to {high}, and leaves its axis of {use.dim}",
        use.span,
        use.tensor.describe(),
        help=_shorter(use, box, low, high),
    )


def _shorter(use: Use, box: dict[str, Dim], low: Dim, high: Dim) -> str:
    plain = size.as_symbol(use.place)
    if size.provably_le(low, -1):
        return "shift it, or leave terms out: `sum[k where … >= 0] …`"
    names = [n for n in box if n in size.symbols(use.place)]
    if plain is None and names and size.provably_le(use.dim, high):
        name = names[0]
        return f"declare the index shorter: `{name}: {box[name] - (high - use.dim + 1)}`"
    return "declare the index shorter, or guard the term with `where`"


def resolved(e: Elaboration, state: FormulaState, body: Expr) -> Expr:
    """The body with every extent filled in."""
    counts: dict[str, Expr] = {}
    for name, axes in state.counts.items():
        if name.startswith("#count "):
            total = size.product([known(e, state.axes[a]) for a in axes])
            counts[name] = scalar.from_dim(total)
    return _fill(e, state, counts, body)


def _fill(e: Elaboration, state: FormulaState, counts: dict[str, Expr], expr: Expr) -> Expr:
    if isinstance(expr, Var):
        return counts.get(expr.name, expr)
    expr = scalar.map_children(expr, lambda child: _fill(e, state, counts, child))
    if isinstance(expr, Reduce):
        axes = tuple(scalar.Axis(a.name, known(e, state.axes[a.name])) for a in expr.axes)
        return Reduce(expr.kind, axes, expr.body, expr.guard)
    return expr
