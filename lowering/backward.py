"""Which ops come after a forward pass: those of a backward pass, and what is made of gradients.

In: a graph. Out: its backward ops (differentiation marks them), those that depend on one, and those
on which no result (the loss, the metrics) depends: what gradients are used for. An inference graph
has none.

    %l = exp(%w)  backward %g = mul(%one, %l)  %n = sub(%w, %g)  update %w = %n  return loss = %l
      →  {%g, %n}
"""

from __future__ import annotations

from stepwell.ir.graph.core import Graph, Op, Value


def backward_ops(graph: Graph) -> frozenset[Op]:
    """The ops of and after a backward pass."""
    found: set[Op] = set()
    late: set[Value] = set()
    for op in graph.ops:
        if op.backward or not late.isdisjoint(op.operands):
            found.add(op)
            late.update(op.results if op.operands else ())
    return frozenset(found | _for_updates(graph))


def _for_updates(graph: Graph) -> set[Op]:
    """The ops that only updates depend on."""
    if not graph.updates:
        return set()
    wanted = {value for _, value in graph.results}
    found: set[Op] = set()
    for op in reversed(graph.ops):
        if wanted.isdisjoint(op.results):
            found.add(op)
        else:
            wanted.update(op.operands)
    return found
