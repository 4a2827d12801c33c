"""Regions: ops elaborated into a graph of their own, for an operator that holds a graph.

    with Region(e) as region:                %y = checkpoint(%x, %w) : f32[N, 8] {
        y = call(…)                      →     graph @block[N](%x: f32[N, 8], %w: f32[8, 8]) { … }
    region.emit("checkpoint", [y], …)        }

The region's own inputs come first; values from outside that its ops use become inputs after them,
under the same names. Parameters, sizes and constraints belong to the graph around. A state's new
value that is computed inside leaves as one more result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from stepwell.frontend.elaboration import Elaboration, computed
from stepwell.frontend.values import Tensor
from stepwell.ir.graph.core import Attribute, Graph, Op, TypeRuleError, Value
from stepwell.ir.span import Span


class Region:
    """The ops evaluated inside a `with`; `own` are tensors that come in under new names."""

    def __init__(self, e: Elaboration, name: str, own: Sequence[Tensor] = ()) -> None:
        self.e, self.name = e, name
        self.ops: list[Op] = []
        self.operands = [tensor.value for tensor in own]
        self.inputs = [Value(e.builder.unique(v.name), v.type) for v in self.operands]
        self.own = [Tensor(v, t.origin) for v, t in zip(self.inputs, own, strict=True)]

    def __enter__(self) -> Region:
        self._outer, self.e.builder.ops = self.e.builder.ops, self.ops
        self.e.calls.append({})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.e.builder.ops = self._outer
        self.e.calls.pop()

    def captured(self, results: Iterable[Value]) -> list[Value]:
        """The values from outside that the ops and results use, in order of use."""
        return list(dict.fromkeys(free_values(self.ops, results, self.inputs)))

    def refuse_captured(self, results: Sequence[Tensor], span: Span) -> None:
        """Refuse a value from outside: only the region's own inputs may be used."""
        for value in self.captured(tensor.value for tensor in results):
            self.e.fail("SW0704", f"`{value.name}` cannot be used in a gradient", span)

    def graph(self, results: Sequence[Value], captured: Sequence[Value]) -> Graph:
        """The finished region."""
        named = tuple(zip(_result_names(results), results, strict=True))
        sizes = tuple(self.e.builder.sizes)
        inputs = (*self.inputs, *captured)
        return Graph(self.name, sizes, inputs, (), (), tuple(self.ops), named)

    def emit(
        self,
        op: str,
        results: Sequence[Tensor],
        span: Span,
        *,
        by: Sequence[Value] = (),
        names: Sequence[str] = (),
    ) -> list[Tensor]:
        """Append the op that holds this region alone; its results, but for new values of states.

        `by` are the inputs that a `gradient` is by; `names` are the first results' names.
        """
        carried = self._new_states()
        values = [*(tensor.value for tensor in results), *carried.values()]
        captured = self.captured(values)
        inputs = [*self.inputs, *captured]
        attributes = {"wrt": tuple(map(inputs.index, by))} if by else {}
        names = [*names, *(v.name for v in values[len(names) :])]
        names += [f"d_{value.name}" for value in by]
        region = self.graph(values, captured)
        operands = [*self.operands, *captured]
        outer = emit_region_op(self.e, op, operands, [region], span, names, **attributes)
        first, after = len(results), len(values)
        for held, new in zip(carried, outer[first:after], strict=True):
            self.e.builder.update(held, new.value)
        return [*outer[:first], *outer[after:]]

    def _new_states(self) -> dict[Value, Value]:
        defined = {value for op in self.ops for value in op.results}
        updates = self.e.builder.updates
        return {held: new for held, new in updates.items() if new in defined}


def emit_region_op(
    e: Elaboration,
    op: str,
    operands: Sequence[Value],
    regions: Sequence[Graph],
    span: Span,
    hints: Sequence[str] = (),
    **attributes: Attribute,
) -> list[Tensor]:
    """Append an op that holds regions; its results."""
    try:
        values = e.builder.region_op(op, operands, regions, hints=hints, span=span, **attributes)
    except TypeRuleError as error:
        e.fail(error.code, f"{op}: {error.message}", span, help=error.help)
    return [Tensor(value, computed(span)) for value in values]


def free_values(
    ops: Sequence[Op], results: Iterable[Value], inputs: Iterable[Value]
) -> Iterator[Value]:
    """The values that ops and results use, but neither the ops nor the inputs define."""
    known = set(inputs)
    for op in ops:
        yield from (value for value in op.operands if value not in known)
        known.update(op.results)
    yield from (value for value in results if value not in known)


def _result_names(results: Sequence[Value]) -> list[str]:
    """A name for each result, unique among them."""
    names: list[str] = []
    for value in results:
        name, count = value.name, 2
        while name in names:
            name, count = f"{value.name}_{count}", count + 1
        names.append(name)
    return names
