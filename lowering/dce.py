"""Dead code elimination: drop the ops on which no result depends.

%a = exp(%x)
%b = neg(%x)            →      %b = neg(%x)
return out = %b                return out = %b
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stepwell.ir.graph.core import Graph
from stepwell.ir.graph.rewrite import remove_dead


@dataclass(frozen=True)
class Dce:
    """Drop dead ops; inputs and parameters stay, they are the signature.

    Before: `%a = exp(%x)`, `%b = neg(%x)`, `return %b`. After: `%b = neg(%x)`, `return %b`.
    """

    name: ClassVar[str] = "dce"

    def run(self, graph: Graph) -> Graph:
        return remove_dead(graph)
