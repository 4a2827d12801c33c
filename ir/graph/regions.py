"""Ops that hold graphs: their type rules, and putting a region's ops in their place.

    %y = checkpoint(%x) : f32[N] {          %e = exp(%x)
      graph @r[N](%x: f32[N]) { … }   →     %y = neg(%e)
    }

A region sees its inputs, which are the op's operands in order, and the sizes of the graph around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from stepwell.ir.graph.core import Attributes, Graph, Op, Value
from stepwell.ir.graph.rules import refuse
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]


def one_region(types: Types, attributes: Attributes, regions: Sequence[Graph]) -> Types:
    """The result types of an op whose results are those of its one region."""
    region_count(regions, 1)
    takes_operands(regions[0], types)
    return result_types(regions[0])


def region_count(regions: Sequence[Graph], count: int) -> None:
    """Refuse more or fewer regions than `count`."""
    if len(regions) != count:
        refuse(f"has {len(regions)} regions, not {count}")


def takes_operands(region: Graph, types: Types, what: str = "operands") -> None:
    """Refuse a region whose inputs are not of these types, or that has parameters of its own."""
    if [v.type for v in region.inputs] != list(types):
        refuse(f"the region's inputs differ from the {what}")
    if region.parameters or region.constraints or region.updates:
        refuse("a region has inputs only: no parameters, no constraints, no updates")


def result_types(region: Graph) -> tuple[TensorType, ...]:
    """The types of the region's results."""
    return tuple(value.type for _, value in region.results)


def inline(
    region: Graph,
    operands: Sequence[Value],
    unique: Callable[[str], str],
    add: Callable[[Op], Sequence[Value]],
    named: Sequence[str] = (),
) -> list[Value]:
    """The region's results as values of the graph to which `add` adds the region's ops.

    `add` gives what stands for an op's results; `named` are names for the region's results.
    """
    wanted = _wanted_names(region, named)
    now = dict(zip(region.inputs, operands, strict=True))
    for op in region.ops:
        results = tuple(Value(unique(wanted.get(v, v.name)), v.type) for v in op.results)
        placed = replace(op, operands=tuple(now[v] for v in op.operands), results=results)
        now.update(zip(op.results, add(placed), strict=True))
    return [now[value] for _, value in region.results]


def _wanted_names(region: Graph, named: Sequence[str]) -> Mapping[Value, str]:
    found: dict[Value, str] = {}
    for (_, value), name in zip(region.results, named, strict=False):
        found.setdefault(value, name)
    return found
