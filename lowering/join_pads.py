"""Join pads: parts that are padded with zeros and added up, side by side, are put together.

%a = pad(%x) {low = [0, 0], high = [0, 4], value = 0.0}
%b = pad(%y) {low = [0, 4], high = [0, 0], value = 0.0}
%s = add(%a, %b)                                       →      %s = concat(%x, %y) {axis = 1}

So do the gradients of a value's slices come: each part is then copied once, and no zero is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.graph.rewrite import Editor, remove_dead, rewrite
from stepwell.ir.size import Dim

Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class JoinPads:
    """The sum of two pads with zeros, where one ends where the other begins, becomes one concat,
    padded by what is left. The sign of a zero may change: 0 + -0 is 0.

    Before: `%s = add(%a, %b)` of pads. After: `%s = concat(%x, %y)`.
    """

    name: ClassVar[str] = "join_pads"

    def run(self, graph: Graph) -> Graph:
        joined = rewrite(graph, _join)
        return graph if joined is graph else remove_dead(joined)


def _join(op: Op, editor: Editor) -> Sequence[Value] | None:
    if op.name != "add":
        return None
    left, right = (editor.producer(value) for value in op.operands)
    if left is None or right is None or not (_is_zeros(left) and _is_zeros(right)):
        return None
    for first, second in ((left, right), (right, left)):
        axis = _meeting(first, second)
        if axis is not None:
            return [_joined(op, first, second, axis, editor)]
    return None


def _is_zeros(op: Op) -> bool:
    return op.name == "pad" and op.attributes["value"] == 0


def _meeting(first: Op, second: Op) -> int | None:
    """The axis along which the second begins where the first ends, all else being the same."""
    (x,), (low, high) = first.operands, _margins(first)
    others = _margins(second)
    for axis, start in enumerate(others[0]):
        same = all(
            low[i] == others[0][i] and high[i] == others[1][i] for i in range(len(low)) if i != axis
        )
        if same and start == low[axis] + x.type.shape[axis]:
            return axis
    return None


def _margins(pad: Op) -> tuple[Shape, Shape]:
    return tuple(pad.attributes["low"]), tuple(pad.attributes["high"])


def _joined(op: Op, first: Op, second: Op, axis: int, editor: Editor) -> Value:
    (x,), (y,) = first.operands, second.operands
    low, (_, high) = _margins(first)[0], _margins(second)
    whole = all(margin == 0 for margin in (*low, *high))
    hint = op.result.name
    value = editor.op("concat", [x, y], hint=hint, span=op.span, axis=axis)
    if whole:
        return value
    return editor.op("pad", [value], hint=hint, span=op.span, low=low, high=high, value=0.0)
