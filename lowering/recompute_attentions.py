"""Recompute attentions: a backward pass computes scores and weights again, from queries and keys.

    %s = contract(%q, %k)                         %s = contract(%q, %k)
    %p = softmax of %s's rows                     %p = softmax of %s's rows
    %o = contract(%p, %v)                  →      %o = contract(%p, %v)
    …                                             …
    %dv = contract(%p, %do)                       %s_again = contract(%q, %k)
                                                  %p_again = softmax of %s_again's rows
                                                  %dv = contract(%p_again, %do)

Then nothing but the attention reads its own weights, and nothing but its gradient the ones that are
computed again: each is one kernel, for a few rows at a time (`fuse`), and the T×T weights are in no
memory. It costs a product and a softmax more, of some seven products; those that are saved take as
long to be written and read. See Dao et al., "FlashAttention", 2022, for the idea.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, Value, free_name
from stepwell.lowering.attention_gradients import AttentionGradient, attention_gradients
from stepwell.lowering.attentions import Finder
from stepwell.lowering.fusion_kinds import Kinds


@dataclass(frozen=True)
class RecomputeAttentions:
    """Scores and weights of attentions computed again for their gradients; see the docstring.

    Before: `%dv = contract(%p, %do)`, where `%p` is the forward pass's. After: `%p_again = …`,
    `%dv = contract(%p_again, %do)`.
    """

    name: ClassVar[str] = "recompute_attentions"

    def run(self, graph: Graph) -> Graph:
        for found in attention_gradients(Finder(graph, Kinds(graph))):
            if found.mix is not None:
                graph = _separated(graph, found)
        return graph


def _separated(graph: Graph, found: AttentionGradient) -> Graph:
    """The graph with copies of the attention's inside, in front of the first op that needs them."""
    taken = {value.name for value in graph.values()}
    again: dict[Value, Value] = {}
    copies: list[Op] = []
    for op in graph.ops:
        if op in found.forward:
            copy = Value(free_name(f"{op.result.name}_again", taken), op.result.type)
            taken.add(copy.name)
            again[op.result] = copy
            operands = _renamed(op, again)
            copies.append(replace(op, operands=operands, results=(copy,), backward=True))
    ops: list[Op] = []
    for op in graph.ops:
        if op in found.ops - found.forward and not again.keys().isdisjoint(op.operands):
            ops += copies
            copies = []
            op = replace(op, operands=_renamed(op, again))
        ops.append(op)
    return replace(graph, ops=tuple(ops))


def _renamed(op: Op, again: dict[Value, Value]) -> tuple[Value, ...]:
    return tuple(again.get(value, value) for value in op.operands)
