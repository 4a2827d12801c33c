"""Choose layouts: images channels last between convolutions.

In: a graph of operators on images channels first, `[N, C, H, W]`. Out: the same, where what lies
between the graph's ends is computed channels last:

    %a = conv(%x, %w1)                 %a  = conv(%x, %w1)
    %r = max(%a, %zero)                %al = transpose(%a) {permutation = [0, 2, 3, 1]}
    %p = window_max(%r)           →    %rl = max(%al, %zerol)
    %b = conv(%p, %w2)                 %pl = window_max(%rl)
    return out = %b                    %p  = transpose(%pl) {permutation = [0, 3, 1, 2]}
                                       %b  = conv(%p, %w2)
                                       return out = %b

A convolution is the same operator as before, between two transposes: fusion computes these where
they are read, so its nest reads and writes images channels last, and no operator but `transpose`
knows of layouts. Channels last, the numbers of a pixel are side by side: they fill the vectors of
whatever the image's size, and no vector straddles the end of a row.

A graph whose windows are all depthwise or in groups of a few channels, on rows that fill half a
vector, or of one pixel stays channels first: its nests have vectors along rows, and nothing is
turned at its ends.

Element-wise operators, poolings, reductions and concatenations follow their operands. The graph's
own inputs and results stay as they are: the first convolution reads one number of an image at a
time, so it takes any layout; an image of many channels is turned before its windows are read. A
convolution in groups of a few channels stays as it is, unless it is depthwise. A formula reads what
was turned at subscripts in another order, and where it makes an image of an image (gradients of
poolings and of strided convolutions do), it makes that channels last, too:

    %dx = index(%dy) {[n, c, i, j] -> x0[n, c, i // 2, j // 2]}
      →   %dxl = index(%dyl) {[n, i, j, c] -> x0[n, i // 2, j // 2, c]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import ClassVar

from stepwell.ir.graph.core import Attributes, Graph, Op, Value
from stepwell.ir.graph.rewrite import Editor, remove_dead, rewrite
from stepwell.ir.scalar import (
    Expr,
    Formula,
    Load,
    Reduce,
    Var,
    children,
    loads,
    map_children,
    variables,
    walk,
)
from stepwell.lowering.strategies.convolution import NARROWEST

Permutation = tuple[int, ...]

FEW = 16  # channels below which an image is read as it lies
WIDE = 8  # columns from which vectors along a row are half full


@dataclass(frozen=True)
class ChooseLayouts:
    """Compute channels last what lies between convolutions. See the module's docstring."""

    name: ClassVar[str] = "choose_layouts"

    def run(self, graph: Graph) -> Graph:
        uses = graph.uses()
        turns = {op.result for op in graph.ops if _turns(op, uses)}
        if not turns or any(op.regions for op in graph.ops):
            return graph
        if not any(_wants_channels_last(op) for op in graph.ops):
            return graph
        return remove_dead(rewrite(graph, _Assignment(turns).rule))


def reads_rows(op: Op) -> bool:
    """Whether the op is a convolution of windows in groups of a few channels, with vectors along
    its rows, which it would gather from an image channels last. Short rows fill no vector."""
    if op.name != "conv":
        return False
    outputs, inputs, *window = op.operands[1].type.shape
    columns, groups = op.operands[0].type.shape[-1], op.attributes["groups"]
    few = groups != 1 and isinstance(outputs, int) and outputs // groups < NARROWEST
    short = isinstance(columns, int) and columns < WIDE
    return few and inputs != 1 and not short and any(extent != 1 for extent in window)


def _turns(op: Op, uses: Mapping[Value, Sequence[Op]]) -> bool:
    """Whether the op is a convolution to be computed channels last, and is not yet."""
    if op.name != "conv":
        return False
    order = _to_last(op.result.type.rank)
    done = [
        use.name == "transpose" and tuple(use.attributes["permutation"]) == order
        for use in uses.get(op.result, ())
    ]
    return _is_known(op) and not (done and all(done))


def _is_known(op: Op) -> bool:
    """Whether there is a schedule for it channels last: without groups, depthwise, or with windows
    in groups that fill vectors."""
    outputs, inputs, *window = op.operands[1].type.shape
    groups = op.attributes["groups"]
    if groups == 1 or inputs == 1:
        return True
    wide = isinstance(outputs, int) and outputs // groups >= NARROWEST
    return wide and any(extent != 1 for extent in window)


def _wants_channels_last(op: Op) -> bool:
    """Whether the op is quicker channels last: all that makes an image of another does, but for a
    product with each pixel, and windows of a channel or a few, on rows that half fill vectors."""
    if op.name != "conv":
        return op.name in ("window_max", "window_sum", "index")
    columns, window = op.operands[0].type.shape[-1], op.operands[1].type.shape[2:]
    long = isinstance(columns, int) and columns >= WIDE
    along = long and (_is_depthwise(op) or reads_rows(op))
    plain = all(step == 1 for step in op.attributes["stride"])
    return not plain or not (along or all(extent == 1 for extent in window))


def _is_depthwise(op: Op) -> bool:
    return bool(op.attributes["groups"] != 1 and op.operands[1].type.shape[1] == 1)


def _to_last(rank: int) -> Permutation:
    """[N, C, H, W] → [N, H, W, C]."""
    return (0, *range(2, rank), 1)


def _to_first(rank: int) -> Permutation:
    """[N, H, W, C] → [N, C, H, W]."""
    return (0, rank - 1, *range(1, rank - 1))


class _Assignment:
    """The rewriting rule; `last` holds, for each value that was turned, its twin channels last;
    `turns` the results of the convolutions to turn."""

    def __init__(self, turns: set[Value]) -> None:
        self.turns = turns
        self.last: dict[Value, Value] = {}
        self._building = False

    def rule(self, op: Op, editor: Editor) -> Sequence[Value] | None:
        if self._building or len(op.results) != 1:
            return None
        self._building = True
        if op.name == "index":
            value = self._formula(op, editor)
        else:
            twin = self._turned(op, editor)
            value = None if twin is None else self._first(twin, op, editor)
        self._building = False
        return None if value is None else [value]

    def _formula(self, op: Op, editor: Editor) -> Value | None:
        """A formula's result by a formula that reads what was turned; None where there is none."""
        known = self._known(op)
        if not known:
            return None
        formula: Formula = op.attributes["formula"]
        names = op.definition.operand_names(len(op.operands))
        images = {n for n, v in zip(names, op.operands, strict=True) if v in self.last}
        turns = any(_is_image_of(formula, e) for e in loads(formula.value) if e.buffer in images)
        operands = [self.last.get(value, value) for value in op.operands]
        axes = formula.axes
        if turns:
            axes = tuple(axes[axis] for axis in _to_last(len(axes)))
        new = Formula(axes, _reading(formula.value, images))
        twin = editor.op("index", operands, hint=op.result.name, span=op.span, formula=new)
        return self._first(twin, op, editor) if turns else twin

    def _known(self, op: Op) -> list[Value]:
        return [value for value in op.operands if value in self.last]

    def _stays(self, op: Op, known: Sequence[Value], editor: Editor) -> bool:
        """Whether nothing of the op is turned but what is made either way as it is wanted."""
        makers = [editor.producer(value) for value in known]
        free = all(made is not None and made.name in ("constant", "broadcast") for made in makers)
        return free and len(known) < len(op.operands)

    def _turned(self, op: Op, editor: Editor) -> Value | None:
        """The op's result channels last; None where it stays, or has no channels."""
        if op.result in self.turns:
            x, w = op.operands
            if x not in self.last and _pays(op):
                x = self._first(self._last_of(x, editor), op, editor)
            y = editor.op("conv", [x, w], hint="y", span=op.span, **op.attributes)
            order = _to_last(y.type.rank)
            hint, span = op.result.name, op.span
            return editor.op("transpose", [y], hint=hint, span=span, permutation=order)
        known = self._known(op)
        rank = op.result.type.rank
        if not known or rank != known[0].type.rank or self._stays(op, known, editor):
            return None
        attributes = _attributes(op, _to_last(rank))
        if attributes is None:
            return None
        operands = [self._last_of(value, editor) for value in op.operands]
        return editor.op(op.name, operands, hint=op.result.name, span=op.span, **attributes)

    def _last_of(self, value: Value, editor: Editor) -> Value:
        if value not in self.last:
            self.last[value] = _permuted(value, _to_last(value.type.rank), editor)
        return self.last[value]

    def _first(self, twin: Value, op: Op, editor: Editor) -> Value:
        order = _to_first(twin.type.rank)
        value = editor.op("transpose", [twin], span=op.span, permutation=order)
        self.last[value] = twin
        return value


def _reading(expr: Expr, images: Set[str]) -> Expr:
    """The expression where the images that it reads are channels last."""
    inner = map_children(expr, lambda child: _reading(child, images))
    if not isinstance(inner, Load) or inner.buffer not in images:
        return inner
    order = _to_last(len(inner.indices))
    return replace(inner, indices=tuple(inner.indices[axis] for axis in order))


def _is_image_of(formula: Formula, load: Load) -> bool:
    """Whether the formula makes an image of the one that it loads: it reads the same number of it,
    and where along its rows and columns depends on where the result is along its own."""
    batch, *rest = (axis.name for axis in formula.axes)
    if len(load.indices) != len(formula.axes) or load.indices[0] != Var(batch):
        return False
    places = zip(load.indices[2:], rest[1:], strict=True)
    return len(rest) > 1 and all(name in variables(place) for place, name in places)


def _pays(op: Op) -> bool:
    """Whether an image is better turned than read as it lies: there are vectors of its channels,
    and a window reads each of its numbers many times."""
    channels, *window = op.operands[1].type.shape[1:]
    depthwise = op.attributes["groups"] != 1
    many = isinstance(channels, int) and channels >= FEW
    return any(extent != 1 for extent in window) and (depthwise or many)


def _permuted(value: Value, order: Permutation, editor: Editor) -> Value:
    """The value with its axes in another order: constants and broadcasts are made so."""
    producer = editor.producer(value)
    span = producer.span if producer is not None else None
    shape = tuple(value.type.shape[axis] for axis in order)
    if producer is not None and producer.name == "transpose":
        before = producer.attributes["permutation"]
        if [before[axis] for axis in order] == sorted(order):
            return producer.operands[0]
    if producer is not None and producer.name == "constant" and producer.formulas():
        return editor.op("constant", span=span, **{**producer.attributes, "shape": shape})
    if producer is not None and producer.name == "broadcast":
        axes = tuple(order.index(axis) for axis in producer.attributes["axes"])
        if list(axes) == sorted(axes):
            return editor.op("broadcast", producer.operands, span=span, shape=shape, axes=axes)
    return editor.op("transpose", [value], span=span, permutation=order)


def _attributes(op: Op, order: Permutation) -> Attributes | None:
    """The attributes with which an op does on permuted operands what it does on these; None where
    there are none such."""
    match op.name:
        case "window_max" | "window_sum" | "slice" | "pad":
            return {
                name: tuple(value[axis] for axis in order) if isinstance(value, tuple) else value
                for name, value in op.attributes.items()
            }
        case "concat":
            return {"axis": order.index(op.attributes["axis"])}
    return op.attributes if _is_elementwise(op) else None


def _is_elementwise(op: Op) -> bool:
    """Whether each element of the result is of the same elements of the operands."""
    formulas = op.formulas()
    if len(formulas) != 1 or any(isinstance(e, Reduce) for e in walk(formulas[0].value)):
        return False
    own = tuple(Var(axis.name) for axis in formulas[0].axes)
    same = [
        index == at or axis.extent == 1
        for load in loads(formulas[0].value)
        for index, at, axis in zip(load.indices, own, formulas[0].axes, strict=False)
    ]
    ranks = {value.type.rank for value in op.operands}
    return all(same) and ranks == {len(own)} and not _uses_indices(formulas[0].value)


def _uses_indices(expr: Expr) -> bool:
    """Whether an index is used as a number."""
    return isinstance(expr, Var) or any(
        _uses_indices(child) for child in (() if isinstance(expr, Load) else children(expr))
    )
