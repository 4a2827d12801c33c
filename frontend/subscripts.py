"""Subscripts: slices, elements and gathers of tensors; elements inside index notation.

x[:, 1:-1]      f32[N, H]  →  slice {start = [0, 1], stop = [N, H - 1], step = [1, 1]}
table[ids]      f32[V, D], i32[N]  →  gather {axis = 0}
x[i + di, j]    inside index notation  →  one element, a `Load`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.elements import load
from stepwell.frontend.evaluation import evaluate, evaluates
from stepwell.frontend.numbers import as_dim
from stepwell.frontend.values import Deferred, Scalar, Tensor, is_dim, kind_of
from stepwell.ir import size
from stepwell.ir.size import Dim
from stepwell.ir.span import Span


@dataclass(frozen=True)
class Item:
    """One subscript and its value; a slice keeps its syntax node."""

    node: Any
    value: Any

    @property
    def span(self) -> Span:
        span: Span = self.node.span
        return span


@evaluates(s.Index)
def subscript(e: Elaboration, node: s.Index) -> Any:
    """`base[…]`."""
    base = evaluate(e, node.base)
    if isinstance(base, (list, tuple)):
        return _element(e, base, node)
    if not isinstance(base, Tensor):
        e.fail("SW0213", f"{kind_of(base)} takes no subscripts", node.base.span)
    items = [
        Item(x, x if isinstance(x, (s.Slice, s.Ellipsis)) else evaluate(e, x))
        for x in node.subscripts
    ]
    if not items:
        e.fail("SW0605", "a subscript is missing between `[` and `]`", node.span)
    if any(isinstance(item.value, Scalar) for item in items):
        return load(e, base, [(item.node, item.value) for item in items], node)
    return _Slicing(e, base, node).run(_expanded(e, base, items, node))


def _element(e: Elaboration, base: Any, node: s.Index) -> Any:
    if len(node.subscripts) != 1 or isinstance(node.subscripts[0], (s.Slice, s.Ellipsis)):
        e.fail("SW0605", "a list takes one whole number as subscript", node.span)
    at = evaluate(e, node.subscripts[0])
    if isinstance(at, bool) or not isinstance(at, int):
        e.fail(
            "SW0605",
            f"a list takes a whole number as subscript, not {kind_of(at)}",
            node.subscripts[0].span,
        )
    if not -len(base) <= at < len(base):
        e.fail(
            "SW0602", f"there is no element {at}: the list has {len(base)}", node.subscripts[0].span
        )
    return base[at]


def _expanded(e: Elaboration, x: Tensor, items: list[Item], node: s.Index) -> list[Item | None]:
    """One item per axis: None for an axis that is kept whole."""
    dots = [i for i, item in enumerate(items) if isinstance(item.node, s.Ellipsis)]
    if len(dots) > 1:
        e.fail("SW0605", "`...` can stand once", items[dots[1]].span)
    given = len(items) - len(dots)
    rank = len(x.shape)
    if given > rank:
        e.fail(
            "SW0605",
            f"{given} subscripts for {rank} {'axis' if rank == 1 else 'axes'}",
            node.span,
            x.describe(),
        )
    at = dots[0] if dots else len(items)
    whole: list[Item | None] = [None] * (rank - given)
    return [*items[:at], *whole, *items[at + len(dots) :]]


class _Slicing:
    """Builds the slice of one tensor, then drops and gathers axes."""

    def __init__(self, e: Elaboration, x: Tensor, node: s.Index) -> None:
        self.e, self.x, self.node = e, x, node
        self.start: list[Dim] = []
        self.stop: list[Dim] = []
        self.step: list[int] = []
        self.reversed: list[int] = []
        self.dropped: list[int] = []
        self.gathered: list[tuple[int, Tensor, Span]] = []

    def run(self, items: list[Item | None]) -> Tensor:
        for axis, item in enumerate(items):
            self._axis(axis, item)
        x = self._sliced(self.x)
        if self.dropped:
            shape = tuple(d for i, d in enumerate(x.shape) if i not in self.dropped)
            x = self.e.emit("reshape", [x], span=self.node.span, shape=shape)
        return self._gather(x)

    def _axis(self, axis: int, item: Item | None) -> None:
        dim = self.x.shape[axis]
        value = None if item is None else item.value
        if item is None:
            self._keep(0, dim, 1)
        elif isinstance(value, Tensor):
            self._integer_tensor(value, item.span)
            self.gathered.append((axis, value, item.span))
            self._keep(0, dim, 1)
        elif isinstance(value, s.Slice):
            self._slice(axis, value, dim)
        elif is_dim(value) or isinstance(value, Deferred):
            at = self._place(as_dim(self.e, value, item.span, "a subscript"), dim, item.span)
            self._keep(at, at + 1, 1)
            self.dropped.append(axis)
        else:
            self.e.fail("SW0605", f"{kind_of(value)} cannot be a subscript", item.span)

    def _keep(self, start: Dim, stop: Dim, step: int) -> None:
        self.start.append(start)
        self.stop.append(stop)
        self.step.append(step)

    def _integer_tensor(self, value: Tensor, span: Span) -> None:
        if not value.dtype.is_int:
            help = "`select(mask, x, 0)` keeps the shape" if value.dtype.is_bool else None
            self.e.fail(
                "SW0605",
                f"a tensor of {value.dtype} cannot be a subscript",
                span,
                value.describe(),
                help=help,
            )
        if self.gathered:
            self.e.fail(
                "SW0605",
                "only one subscript can be a tensor",
                span,
                value.describe(),
                help="write index notation: `[n] -> x[a[n], b[n]]`",
            )

    def _place(self, at: Dim, dim: Dim, span: Span) -> Dim:
        """A subscript counted from the start, checked to lie in its axis."""
        if size.provably_le(at, -1):
            at = at + dim
        if size.provably_le(at, -1) or size.provably_le(dim, at):
            self._outside(str(at), dim, span)
        if not size.provably_le(at + 1, dim):
            self.e.constrain(at, "<", dim, f"subscript {at} must lie in an axis of {dim}", span)
        if not size.provably_le(0, at):
            self.e.constrain(0, "<=", at, f"subscript {at} must not be negative", span)
        return at

    def _outside(self, shown: str, dim: Dim, span: Span, what: str = "subscript") -> NoReturn:
        self.e.fail(
            "SW0602", f"{what} {shown} lies outside of an axis of {dim}", span, self.x.describe()
        )

    def _bound(self, node: s.Expr | None, default: Dim, dim: Dim) -> Dim:
        if node is None:
            return default
        value = as_dim(self.e, evaluate(self.e, node), node.span, "a bound")
        if size.provably_le(value, -1):
            value = value + dim
        if size.provably_le(value, -1) or size.provably_le(dim + 1, value):
            self._outside(str(value), dim, node.span, "the bound")
        if not size.provably_le(value, dim):
            self.e.constrain(
                value, "<=", dim, f"bound {value} must lie in an axis of {dim}", node.span
            )
        if not size.provably_le(0, value):
            self.e.constrain(0, "<=", value, f"bound {value} must not be negative", node.span)
        return value

    def _slice(self, axis: int, node: s.Slice, dim: Dim) -> None:
        step = 1
        if node.step is not None:
            value = evaluate(self.e, node.step)
            if isinstance(value, bool) or not isinstance(value, int) or value == 0:
                self.e.fail(
                    "SW0605",
                    f"a step must be a whole number other than 0, not {kind_of(value)}",
                    node.step.span,
                )
            step = value
        if step < 0:
            if node.start is not None or node.stop is not None:
                self.e.fail(
                    "SW0605",
                    "bounds with a negative step are not allowed",
                    node.span,
                    help="`x[a:b]` first, then `[::-1]`",
                )
            self.reversed.append(axis)
            step = -step
        start, stop = self._bound(node.start, 0, dim), self._bound(node.stop, dim, dim)
        if size.provably_le(stop + 1, start):
            self.e.fail(
                "SW0602",
                f"the slice ends at {stop}, before it begins at {start}",
                node.span,
                self.x.describe(),
            )
        if not size.provably_le(start, stop):
            self.e.constrain(start, "<=", stop, f"a slice from {start} to {stop}", node.span)
        self._keep(start, stop, step)

    def _sliced(self, x: Tensor) -> Tensor:
        span, where = self.node.span, [self.node.base.span]
        if self.reversed:
            x = self.e.emit("reverse", [x], span=span, spans=where, axes=tuple(self.reversed))
        whole = all(a == 0 for a in self.start) and all(k == 1 for k in self.step)
        if whole and tuple(self.stop) == x.shape:
            return x
        return self.e.emit(
            "slice",
            [x],
            span=span,
            spans=where,
            start=tuple(self.start),
            stop=tuple(self.stop),
            step=tuple(self.step),
        )

    def _gather(self, x: Tensor) -> Tensor:
        for axis, indices, span in self.gathered:
            at = axis - sum(d < axis for d in self.dropped)
            x = self.e.emit(
                "gather",
                [x, indices],
                span=self.node.span,
                spans=[self.node.base.span, span],
                axis=at,
            )
        return x
