"""Common subexpression elimination: one op for all that compute the same.

%a = exp(%x)                   %a = exp(%x)
%b = exp(%x)            →      %c = add(%a, %a)
%c = add(%a, %b)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, Value, attribute_key
from stepwell.ir.graph.rewrite import Editor, rewrite

# Bit for bit the same either way round (which NaN of two comes out is not specified).
COMMUTATIVE = frozenset({"add", "mul", "min", "max", "eq", "ne", "and", "or", "xor"})


@dataclass(frozen=True)
class Cse:
    """Keep the first of equal ops: same operator, operands, attributes. Every op is pure.

    Before: `%a = exp(%x)`, `%b = exp(%x)`, `%c = add(%a, %b)`.
    After: `%a = exp(%x)`, `%c = add(%a, %a)`.
    """

    name: ClassVar[str] = "cse"

    def run(self, graph: Graph) -> Graph:
        seen: dict[Hashable, tuple[Value, ...]] = {}

        def reuse(op: Op, editor: Editor) -> Sequence[Value] | None:
            if op.regions:
                return None
            first = seen.setdefault(_key(op), op.results)
            return None if first is op.results else first

        return rewrite(graph, reuse)


def _key(op: Op) -> Hashable:
    operands = op.operands
    if op.name in COMMUTATIVE:
        operands = tuple(sorted(operands, key=lambda value: value.name))
    attributes = tuple(sorted((k, attribute_key(v)) for k, v in op.attributes.items()))
    return (op.name, operands, attributes, tuple(value.type for value in op.results))
