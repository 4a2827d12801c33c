"""Reverse-mode differentiation: from a graph to one that gives its gradients too.

In: a graph whose first result is one float, and positions of inputs. Out: a graph with the same
inputs, whose results are the graph's and then a gradient for each of those inputs.

    %p = mul(%x, %w)                             %p = mul(%x, %w)
    %sum = reduce_sum(%p) {axes = [0]}           %sum = reduce_sum(%p) {axes = [0]}
    return loss = %sum                    →      backward %one = constant {value = 1.0, …}
                                                 backward %p.grad = broadcast(%one) {…}
                                                 backward %w.grad = mul(%p.grad, %x)
                                                 return loss = %sum, w.grad = %w.grad

Ops are walked backwards and each operator's rule (`OpDef.gradient`) turns the cotangents of results
into cotangents of operands, which are added up. A value to which no cotangent comes has none: zeros
are made only where a gradient that is asked for is zero. What the walk adds is marked `backward`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import (
    Graph,
    NotDifferentiable,
    Op,
    TypeRuleError,
    Value,
    free_name,
)
from stepwell.ir.graph.rewrite import Editor, remove_dead, rewrite
from stepwell.ir.graph.rules import DTYPE
from stepwell.ir.types import TensorType


def derivative(region: Graph, wrt: Sequence[int]) -> Graph:
    """The results and the gradients of the first of them, free of the operators of
    `differentiation.py`. Raises TypeRuleError where there is no gradient."""
    return expand(_derivative(region, wrt))


def expand(graph: Graph) -> Graph:
    """The graph with what `gradient`, `stop_gradient`, `checkpoint` and `custom_gradient` mean in
    their place; itself where it has none of them."""
    return rewrite(graph, _expand)


def meaning(op: Op) -> Graph:
    """The graph from the operands of an op with regions to its results."""
    if op.name == "gradient":
        return _derivative(op.regions[0], op.attributes["wrt"])
    return op.regions[0]


def pull_back(
    b: GraphBuilder, ops: Sequence[Op], wrt: Sequence[Value], given: Mapping[Value, Value]
) -> list[Value | None]:
    """Cotangents of `wrt`, given those of some results of `ops`; each value's once."""
    reverse = _Reverse(b, [value for value in wrt if value.type.dtype.is_float])
    reverse.pull(ops, given)
    return [reverse.cotangents.pop(value, None) for value in wrt]


def _expand(op: Op, editor: Editor) -> Sequence[Value] | None:
    if op.name == "stop_gradient":
        return op.operands
    if op.name not in ("gradient", "checkpoint", "custom_gradient"):
        return None
    return _inlined(op, editor)


def _expand_gradients(op: Op, editor: Editor) -> Sequence[Value] | None:
    return _inlined(op, editor) if op.name == "gradient" else None


def _inlined(op: Op, editor: Editor) -> Sequence[Value]:
    return editor.inline(meaning(op), op.operands, [value.name for value in op.results])


def _derivative(region: Graph, wrt: Sequence[int]) -> Graph:
    """`derivative`, with the operators left in that say how the result is differentiated again."""
    plain = rewrite(region, _expand_gradients)
    b = GraphBuilder(region.name, region.sizes)
    inputs = [b.input(value.name, value.type) for value in plain.inputs]
    results = b.inline(plain, inputs)
    reverse = _Reverse(b, [inputs[position] for position in wrt])
    reverse.run(results[0])
    found = {name: value for (name, _), value in zip(plain.results, results, strict=True)}
    for value in (inputs[position] for position in wrt):
        found[free_name(f"{value.name}.grad", found)] = reverse.gradient(value)
    return remove_dead(_renamed(b.finish(list(found.items())), reverse.names()))


class _Reverse:
    """One walk backwards over what a builder has been given."""

    def __init__(self, b: GraphBuilder, wrt: Sequence[Value]) -> None:
        self.b = b
        b.backward = True
        self.active = set(wrt)
        self.cotangents: dict[Value, Value] = {}
        self.readers: dict[Value, Op] = {}  # by which op the first cotangent of a value came

    def run(self, loss: Value) -> None:
        """Cotangents of all that the loss depends on."""
        ops = list(self.b.ops)
        self._activate(ops)
        if loss in self.active:
            self.cotangents[loss] = self._full(1.0, loss.type)
            self._walk(ops)

    def pull(self, ops: Sequence[Op], given: Mapping[Value, Value]) -> None:
        """Cotangents of all that some values depend on."""
        self._activate(ops)
        self.cotangents.update(given)
        self._walk(ops)

    def gradient(self, value: Value) -> Value:
        """The cotangent that came to a value, or zeros."""
        found = self.cotangents.get(value)
        return self._full(0.0, value.type) if found is None else found

    def names(self) -> dict[Value, str]:
        """Names for cotangents: what they are the gradients of."""
        found: dict[Value, str] = {}
        made = {value for op in self.b.ops for value in op.results}
        for value, cotangent in self.cotangents.items():
            if cotangent in made:
                found.setdefault(cotangent, f"{value.name}.grad")
        return found

    def _activate(self, ops: Iterable[Op]) -> None:
        """Note which floats depend on what is differentiated by."""
        for op in ops:
            if op.name != "stop_gradient" and any(v in self.active for v in op.operands):
                self.active.update(v for v in op.results if v.type.dtype.is_float)

    def _walk(self, ops: Sequence[Op]) -> None:
        place = self.b.place
        for op in reversed(ops):
            if any(value in self.cotangents for value in op.results):
                self.b.place = op.span
                self._step(op)
        self.b.place = place

    def _step(self, op: Op) -> None:
        floats = [value for value in op.results if value.type.dtype.is_float]
        cotangents = [self.gradient(value) for value in floats]
        if op.name == "checkpoint":
            self._recompute(op)
        elif op.name == "custom_gradient":
            values = [*op.operands, *op.results, *cotangents]
            found = self.b.inline(_without_gradients(op.regions[1]), values)
            operands = [value for value in op.operands if value.type.dtype.is_float]
            self._add_all(operands, found, op)
        else:
            self._add_all(op.operands, self._rule(op, cotangents), op)

    def _rule(self, op: Op, cotangents: Sequence[Value]) -> Sequence[Value | None]:
        rule = op.definition.gradient
        if isinstance(rule, NotDifferentiable):
            raise TypeRuleError(f"{op.name} has no gradient: {rule.why}", code=DTYPE)
        return rule(self.b, op, cotangents)

    def _recompute(self, op: Op) -> None:
        """The region once more, and back through that."""
        start = len(self.b.ops)
        operands = [self.b.op("barrier", [value], number=start) for value in op.operands]
        results = self.b.inline(_without_gradients(op.regions[0]), operands)
        again = self.b.ops[start:]
        self._activate(again)
        given = [self.cotangents.get(value) for value in op.results]
        self._add_all(results, given, op)
        self._walk(again)

    def _add_all(self, values: Sequence[Value], more: Sequence[Value | None], op: Op) -> None:
        for value, cotangent in zip(values, more, strict=True):
            if cotangent is not None and value in self.active:
                self._add(value, cotangent, op)

    def _add(self, value: Value, cotangent: Value, op: Op) -> None:
        before = self.cotangents.get(value)
        if before is not None:
            cotangent = self.b.op("add", [before, cotangent])
        self.cotangents[value] = cotangent
        self.readers.setdefault(value, op)

    def _full(self, value: float, type: TensorType) -> Value:
        return self.b.op("constant", value=value, dtype=type.dtype, shape=type.shape)


def _without_gradients(region: Graph) -> Graph:
    return rewrite(region, _expand_gradients)


def _renamed(graph: Graph, names: Mapping[Value, str]) -> Graph:
    """The graph with other names for some values, each made unique."""
    taken = {value.name for value in graph.values()}
    new: dict[Value, Value] = {}
    for value, name in names.items():
        new[value] = Value(free_name(name, taken), value.type)
        taken.add(new[value].name)

    def now(values: Iterable[Value]) -> tuple[Value, ...]:
        return tuple(new.get(value, value) for value in values)

    ops = tuple(replace(op, operands=now(op.operands), results=now(op.results)) for op in graph.ops)
    results = tuple((name, new.get(value, value)) for name, value in graph.results)
    return replace(graph, ops=ops, results=results)
