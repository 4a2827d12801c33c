"""Which ops of a training step come after its forward pass.

In: a graph with updates. Out: the ops on which no result (the loss, the metrics) depends: gradients
and what they are used for. An inference graph has none.

    %l = exp(%w)   %g = mul(%one, %l)   %n = sub(%w, %g)   update %w = %n   return loss = %l
      →  {%g, %n}
"""

from __future__ import annotations

from stepwell.ir.graph.core import Graph, Op


def backward_ops(graph: Graph) -> frozenset[Op]:
    """The ops that only updates depend on."""
    if not graph.updates:
        return frozenset()
    wanted = {value for _, value in graph.results}
    found: list[Op] = []
    for op in reversed(graph.ops):
        if wanted.isdisjoint(op.results):
            found.append(op)
        else:
            wanted.update(op.operands)
    return frozenset(found)
