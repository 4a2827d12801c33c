"""Common subexpression elimination: one op for all that compute the same.

%a = exp(%x)                   %a = exp(%x)
%b = exp(%x)            →      %c = add(%a, %a)
%c = add(%a, %b)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, Value, attribute_key
from stepwell.ir.graph.rewrite import Editor, rewrite

# Bit for bit the same either way round (which NaN of two comes out is not specified).
COMMUTATIVE = frozenset({"add", "mul", "min", "max", "eq", "ne", "and", "or", "xor"})


@dataclass(frozen=True)
class Cse:
    """Keep the first of equal ops: same operator, operands, attributes. Every op is pure. It is
    backward if they all are.

    Before: `%a = exp(%x)`, `%b = exp(%x)`, `%c = add(%a, %b)`.
    After: `%a = exp(%x)`, `%c = add(%a, %a)`.
    """

    name: ClassVar[str] = "cse"

    def run(self, graph: Graph) -> Graph:
        seen: dict[Hashable, Op] = {}
        forward: set[Op] = set()  # of backward ops those that a forward one equals

        def reuse(op: Op, editor: Editor) -> Sequence[Value] | None:
            if op.regions:
                return None
            first = seen.setdefault(_key(op), op)
            if first is op:
                return None
            if first.backward and not op.backward:
                forward.add(first)
            return first.results

        found = rewrite(graph, reuse)
        if not forward:
            return found
        ops = (replace(op, backward=False) if op in forward else op for op in found.ops)
        return replace(found, ops=tuple(ops))


def _key(op: Op) -> Hashable:
    operands = op.operands
    if op.name in COMMUTATIVE:
        operands = tuple(sorted(operands, key=lambda value: value.name))
    attributes = tuple(sorted((k, attribute_key(v)) for k, v in op.attributes.items()))
    return (op.name, operands, attributes, tuple(value.type for value in op.results))
