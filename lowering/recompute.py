"""Recompute: what a backward pass needs of the forward pass is computed again where that is cheap.

    %y = exp(%x)                                  %y = exp(%x)
    %z = contract(%y, %w)                         %z = contract(%y, %w)
    %t = tanh(%z)                          →      %t = tanh(%z)
    …                                             …
    %d = mul(%dt, %t)                             %t_again = tanh(%z)
                                                  %d = mul(%dt, %t_again)

Element-wise values cost nothing in a fused backward kernel, while each that is saved is written and
read. Which are saved is a minimum cut: between what can't be had for little (products, reductions,
random bits) and the backward ops that read, values are cut whose bytes through memory are least.
What the forward pass stores in any case (a product's operand, what ends a product's epilogue, the
inputs) is only read. See He and Yu, "Transcending runtime-memory tradeoffs in checkpointing by
being fusion aware", MLSys 2023, for the idea.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, Value, free_name
from stepwell.ir.scalar import Load, loads, walk
from stepwell.lowering.backward import backward_ops
from stepwell.lowering.fusion_group import nominal
from stepwell.lowering.fusion_kinds import ANCHORS, Kinds
from stepwell.lowering.minimum_cut import Network

_DEAR = 24  # simple operations per element that are not done twice
_DEPTH = 16  # ops one after another that are done again


@dataclass(frozen=True)
class Recompute:
    """Copies of cheap forward ops for the backward ops; see the module's docstring.

    Before: `%d = mul(%dt, %t)`, far from `%t = tanh(%z)`. After: `%t_again = tanh(%z)`,
    `%d = mul(%dt, %t_again)`.
    """

    name: ClassVar[str] = "recompute"

    def run(self, graph: Graph) -> Graph:
        backward = backward_ops(graph)
        return _Recomputing(graph, backward).run() if backward else graph


class _Recomputing:
    def __init__(self, graph: Graph, backward: frozenset[Op]) -> None:
        self.graph, self.backward = graph, backward
        self.kinds = Kinds(graph)
        self.forward = {value: op for op in graph.ops if op not in backward for value in op.results}
        self.cheap = self._cheap()
        self.held = self._held()
        self.copies: dict[Value, Value] = {}
        self.names = {value.name for value in graph.values()}
        self.ops: list[Op] = []

    def run(self) -> Graph:
        self.saved = self._saved()
        for op in self.graph.ops:
            if op in self.backward:
                operands = tuple(
                    value if self._is_read_whole(op, value) else self._again(value)
                    for value in op.operands
                )
                op = op if operands == op.operands else replace(op, operands=operands)
            self.ops.append(op)
        return replace(self.graph, ops=tuple(self.ops)) if self.copies else self.graph

    def _again(self, value: Value) -> Value:
        """The value as the backward pass has it: saved, or computed from what is saved."""
        op = self.forward.get(value)
        if op is None or value not in self.cheap or value in self.saved or not op.operands:
            return value
        if value not in self.copies:
            operands = tuple(self._again(operand) for operand in op.operands)
            copy = Value(free_name(f"{value.name}_again", self.names), value.type)
            self.names.add(copy.name)
            self.ops.append(replace(op, operands=operands, results=(copy,), backward=True))
            self.copies[value] = copy
        return self.copies[value]

    # ------------------------------------------------------------------ what is cheap, what is held

    def _cheap(self) -> frozenset[Value]:
        """Forward values that a few element-wise operations give."""
        depths: dict[Value, int] = {}
        for op in self.graph.ops:
            depth = 1 + max((depths.get(value, 0) for value in op.operands), default=0)
            if op not in self.backward and self._is_cheap(op) and depth <= _DEPTH:
                depths[op.result] = depth
        return frozenset(depths)

    def _is_cheap(self, op: Op) -> bool:
        if op not in self.kinds or self.kinds[op] not in ("view", "pointwise"):
            return False
        subscripts = [i for load in loads(self.kinds.formula(op).value) for i in load.indices]
        looks_up = any(isinstance(e, Load) for i in subscripts for e in walk(i))
        return self.kinds.cost(op) <= _DEAR and not looks_up

    def _held(self) -> frozenset[Value]:
        """What is in memory, whatever the backward pass does."""
        held = {*self.graph.inputs, *(parameter.value for parameter in self.graph.parameters)}
        held |= {value for _, value in self.graph.results}
        held |= {value for value in self.forward if self.kinds.ends(value)}
        for op in self.forward.values():
            if op in self.kinds and self.kinds[op] in ANCHORS:
                held |= {self._base(value) for value in op.operands}
        return frozenset(held)

    def _base(self, value: Value) -> Value:
        """What a view, or a view of a view, shows."""
        op = self.forward.get(value)
        while op is not None and op in self.kinds and self.kinds[op] == "view" and op.operands:
            value = op.operands[0]
            op = self.forward.get(value)
        return value

    def _is_read_whole(self, op: Op, value: Value) -> bool:
        """Whether a backward product reads what is held: it would have to be stored again."""
        product = op not in self.kinds or self.kinds[op] in ANCHORS
        return product and self._base(value) in self.held

    # ------------------------------------------------------------------ the cut

    def _saved(self) -> frozenset[Value]:
        """The forward values on the edge of the cut."""
        network, endless = Network(), 1 << 62
        for value in (*self.graph.inputs, *(p.value for p in self.graph.parameters)):
            network.edge("source", ("in", value), endless)
            network.edge(("in", value), ("out", value), self._price(value))
        for value, op in self.forward.items():
            network.edge(("in", value), ("out", value), self._price(value))
            if value not in self.cheap:
                network.edge("source", ("in", value), endless)
                continue
            for operand in op.operands:
                network.edge(("out", operand), ("in", value), endless)
        for op in self.graph.ops:
            for value in op.operands if op in self.backward else ():
                if value in self.forward and not self._is_read_whole(op, value):
                    network.edge(("out", value), "sink", endless)
        side = network.sink_side("source", "sink")
        return frozenset(v for v in self.forward if ("out", v) in side and ("in", v) not in side)

    def _price(self, value: Value) -> int:
        """Bytes through memory: read, and written where nothing else needs it there."""
        size = nominal(value.type.elements) * max(1, value.type.dtype.bits // 8)
        return size if value in self.held else 2 * size
