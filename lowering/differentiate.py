"""Differentiation: gradients are worked out, operator by operator.

In: a graph with `gradient`, `stop_gradient`, `checkpoint` and `custom_gradient` ops. Out: one that
computes the same without them.

    %l, %dx = gradient(%x) {wrt = [0]} : f32, f32 {       %l = exp(%x)
      graph @loss(%x: f32) {                              %one = constant {value = 1.0, …}
        %y = exp(%x) : f32                        →       %dx = mul(%one, %l)
        return loss = %y
      }
    }

How gradients are found is in `ir/graph/derivative.py`, by which the interpreter runs these ops too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stepwell.ir.graph.core import Graph
from stepwell.ir.graph.derivative import expand


@dataclass(frozen=True)
class Differentiate:
    """Put the ops of forward and backward pass in the place of `gradient`, and so on.

    Before: `%l, %dx = gradient(%x) {wrt = [0]}` with the region `%y = exp(%x)`.
    After: `%l = exp(%x)`, `%dx = mul(%one, %l)`.
    """

    name: ClassVar[str] = "differentiate"

    def run(self, graph: Graph) -> Graph:
        return expand(graph)
