"""The rewriting driver: one forward walk over a graph that rebuilds its list of ops.

In: a graph, and a rule from an op to the values that replace its results (None: keep it). Out: the
graph with every rule applied, or the same object where none was.

    %a = neg(%x)
    %b = neg(%a)                   rule: neg(neg(x)) is x
    %c = exp(%b)            →      %c = exp(%x)

Operators that a rule makes go through the rule themselves, so a forward walk leaves nothing to
rewrite but what a later op's disappearance uncovers. A value keeps its name: the rule passes it on
as `hint`. What is made of a backward op is backward. What is dead afterwards is for `remove_dead`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from stepwell.ir.graph.core import Attribute, Graph, Op, Value, free_name
from stepwell.ir.graph.regions import inline
from stepwell.ir.graph.registry import lookup
from stepwell.ir.span import Span

Rule = Callable[[Op, "Editor"], Sequence[Value] | None]


class Editor:
    """What a rule sees: the ops so far, and a way to add more."""

    def __init__(self, graph: Graph, rule: Rule) -> None:
        self.graph = graph
        self.ops: list[Op] = []
        self.producers: dict[Value, Op] = {}
        self._rule = rule
        self._names = {value.name for value in graph.values()}
        self._replaced: dict[Value, Value] = {}
        self._backward = False  # whether the op is that is being rewritten

    def producer(self, value: Value) -> Op | None:
        """The op that computes the value; None for inputs and parameters."""
        return self.producers.get(value)

    def op(
        self,
        name: str,
        operands: Sequence[Value] = (),
        *,
        hint: str | None = None,
        span: Span | None = None,
        **attributes: Attribute,
    ) -> Value:
        """Add an op with one result (or what the rule makes of it). Raises TypeRuleError."""
        definition = lookup(name)
        (type,) = definition.infer([value.type for value in operands], attributes)
        result = Value(self.unique(hint or name), type)
        made = Op(definition, tuple(operands), attributes, (result,), (), span, self._backward)
        (value,) = self.visit(made)
        return value

    def unique(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`, … where it is taken; taken from now on."""
        candidate = free_name(name, self._names)
        self._names.add(candidate)
        return candidate

    def visit(self, op: Op) -> Sequence[Value]:
        """Offer an op, its operands already rewritten, to the rule; add it if it stays."""
        self._names -= {value.name for value in op.results}
        values = self._rule(op, self)
        if values is None:
            self._names |= {value.name for value in op.results}
            self.ops.append(op)
            self.producers.update((value, op) for value in op.results)
            return op.results
        for old, new in zip(op.results, values, strict=True):
            if old.type != new.type:
                raise ValueError(f"{op.name} {old}: {old.type} was replaced by {new}: {new.type}")
        return values

    def inline(
        self, region: Graph, operands: Sequence[Value], named: Sequence[str]
    ) -> Sequence[Value]:
        """Add a graph's ops, its inputs being `operands`; what its results are here."""
        return inline(region, operands, self.unique, self.visit, named)

    def walk(self) -> Graph:
        """Rewrite the whole graph."""
        for op in self.graph.ops:
            self._backward = op.backward
            operands = tuple(self.now(value) for value in op.operands)
            values = self.visit(op if operands == op.operands else replace(op, operands=operands))
            for old, new in zip(op.results, values, strict=True):
                if old is not new:
                    self._replaced[old] = new
        results = tuple((name, self.now(value)) for name, value in self.graph.results)
        updates = tuple((value, self.now(new)) for value, new in self.graph.updates)
        kept = results == self.graph.results and updates == self.graph.updates
        if kept and _same(self.ops, self.graph.ops):
            return self.graph
        return replace(self.graph, ops=tuple(self.ops), results=results, updates=updates)

    def now(self, value: Value) -> Value:
        """What stands for one of the old graph's values."""
        return self._replaced.get(value, value)


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph with the rule applied to every op, operands first."""
    return Editor(graph, rule).walk()


def remove_dead(graph: Graph) -> Graph:
    """The graph without the ops on which no result or update depends; itself where all matter."""
    live = set(graph.outcomes())
    kept: list[Op] = []
    for op in reversed(graph.ops):
        if any(value in live for value in op.results):
            kept.append(op)
            live.update(op.operands)
    if len(kept) == len(graph.ops):
        return graph
    return replace(graph, ops=tuple(reversed(kept)))


def _same(left: Sequence[Op], right: Sequence[Op]) -> bool:
    return len(left) == len(right) and all(a is b for a, b in zip(left, right, strict=True))
