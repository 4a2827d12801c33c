"""Building a graph op by op: names are made unique and types inferred.

b = GraphBuilder("f", sizes=("N",))
x = b.input("x", TensorType(F32, ("N"...)))
y = b.op("add", [x, x])            # Value; the type rule ran
graph = b.finish([("out", y)])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from stepwell.ir.graph.core import (
    Attribute,
    Constraint,
    Graph,
    Op,
    Parameter,
    ParameterKind,
    Value,
)
from stepwell.ir.graph.regions import inline
from stepwell.ir.graph.registry import lookup
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType


class Builder(Protocol):
    """What ops are added to: a `GraphBuilder`, or an `Editor` of the rewriting driver."""

    def op(
        self,
        name: str,
        operands: Sequence[Value] = (),
        *,
        hint: str | None = None,
        span: Span | None = None,
        **attributes: Attribute,
    ) -> Value: ...


class GraphBuilder:
    """Collects ops in order. Not thread-safe; one graph each."""

    def __init__(self, name: str, sizes: Sequence[str] = ()) -> None:
        self.name = name
        self.sizes = list(sizes)
        self.inputs: list[Value] = []
        self.parameters: list[Parameter] = []
        self.constraints: list[Constraint] = []
        self.ops: list[Op] = []
        self.updates: dict[Value, Value] = {}
        self.span: Span | None = None
        self.place: Span | None = None  # of ops that are given no span
        self.backward = False  # whether ops are, from now on
        self._names: set[str] = set()
        self._counts: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`, … where it is taken."""
        candidate = name
        while candidate in self._names:
            self._counts[name] = self._counts.get(name, 1) + 1
            candidate = f"{name}_{self._counts[name]}"
        self._names.add(candidate)
        return candidate

    def input(self, name: str, type: TensorType) -> Value:
        value = Value(self.unique(name), type)
        self.inputs.append(value)
        return value

    def parameter(
        self, path: str, type: TensorType, initializer: str, span: Span | None = None,
        kind: ParameterKind = "param",
    ) -> Value:  # fmt: skip
        value = Value(self.unique(path), type)
        self.parameters.append(Parameter(value, initializer, span, kind))
        return value

    def update(self, parameter: Value, new: Value) -> None:
        """Give a parameter its value after the run; the last one given counts."""
        self.updates[parameter] = new

    def op(
        self,
        name: str,
        operands: Sequence[Value] = (),
        *,
        hint: str | None = None,
        span: Span | None = None,
        **attributes: Attribute,
    ) -> Value:
        """Append an op with one result and return that. Raises TypeRuleError."""
        definition = lookup(name)
        types = definition.infer([value.type for value in operands], attributes)
        results = tuple(Value(self.unique(hint or name), type) for type in types)
        place = self.place if span is None else span
        made = Op(definition, tuple(operands), attributes, results, (), place, self.backward)
        self.ops.append(made)
        return results[0]

    def producer(self, value: Value) -> Op | None:
        """The op that computes the value; None for inputs and parameters."""
        return next((op for op in reversed(self.ops) if value in op.results), None)

    def region_op(
        self,
        name: str,
        operands: Sequence[Value],
        regions: Sequence[Graph],
        *,
        hints: Sequence[str] = (),
        span: Span | None = None,
        **attributes: Attribute,
    ) -> tuple[Value, ...]:
        """Append an op that holds graphs and return its results. Raises TypeRuleError."""
        definition = lookup(name)
        assert definition.regions is not None, f"{name} holds no graphs"
        types = definition.regions([v.type for v in operands], attributes, regions)
        wanted = [*hints, *[name] * (len(types) - len(hints))]
        results = tuple(
            Value(self.unique(hint), type) for hint, type in zip(wanted, types, strict=True)
        )
        place = self.place if span is None else span
        held = tuple(regions)
        made = Op(definition, tuple(operands), attributes, results, held, place, self.backward)
        self.ops.append(made)
        return results

    def inline(self, region: Graph, operands: Sequence[Value]) -> list[Value]:
        """Append a graph's ops, its inputs being `operands`; what its results are here."""

        def add(op: Op) -> Sequence[Value]:
            self.ops.append(replace(op, backward=True) if self.backward else op)
            return op.results

        return inline(region, operands, self.unique, add)

    def finish(self, results: Sequence[tuple[str, Value]]) -> Graph:
        return Graph(
            self.name,
            tuple(self.sizes),
            tuple(self.inputs),
            tuple(self.parameters),
            tuple(self.constraints),
            tuple(self.ops),
            tuple(results),
            self.span,
            tuple(self.updates.items()),
        )
