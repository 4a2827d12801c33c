"""Join concats: what is put together piece by piece is put together once.

%a = concat(%x, %y) {axis = 0}
%b = concat(%a, %z) {axis = 0}      →      %b = concat(%x, %y, %z) {axis = 0}

A sequence grown in a loop is copied once and not once per turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.graph.rewrite import Editor, remove_dead, rewrite


@dataclass(frozen=True)
class JoinConcats:
    """An operand of a concat that is a concat along the same axis is replaced by its operands.

    Before: `%a = concat(%x, %y)`, `%b = concat(%a, %z)`. After: `%b = concat(%x, %y, %z)`.
    """

    name: ClassVar[str] = "join_concats"

    def run(self, graph: Graph) -> Graph:
        joined = rewrite(graph, _join)
        return graph if joined is graph else remove_dead(joined)


def _join(op: Op, editor: Editor) -> Sequence[Value] | None:
    if op.name != "concat":
        return None
    pieces = tuple(_pieces(op, editor))
    if pieces == op.operands:
        return None
    return [editor.op("concat", pieces, hint=op.result.name, span=op.span, **op.attributes)]


def _pieces(op: Op, editor: Editor) -> Iterator[Value]:
    for operand in op.operands:
        inner = editor.producer(operand)
        if inner is not None and inner.name == "concat" and inner.attributes == op.attributes:
            yield from inner.operands
        else:
            yield operand
