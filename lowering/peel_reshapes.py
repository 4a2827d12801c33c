"""Reshapes at the rim of a kernel's region: they cost nothing, for a dense array has any shape.

In: a region. Out: one with fewer ops; its inputs and result have other shapes, as many elements.

    input %x: f32[N, 12, 64]                      input %x: f32[N, 768]
    %r = reshape(%x) {shape = [N, 768]}      →    %y = exp(%x)
    %y = exp(%r)                                  return y = %y
    %z = reshape(%y) {shape = [N, 12, 64]}
    return z = %z
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.graph.rewrite import remove_dead


def peel_reshapes(region: Graph) -> Graph:
    """The region without reshapes of inputs (where nothing reads them otherwise) and of its only
    result; itself where there are none."""
    return _peel_inputs(_peel_result(region))


def _peel_result(region: Graph) -> Graph:
    producers = region.producers()
    if len(region.results) != 1:
        return region
    ((name, value),) = region.results
    inner = value
    while inner in producers and producers[inner].name == "reshape":
        inner = producers[inner].operands[0]
    if inner is value or inner not in producers:
        return region
    return remove_dead(replace(region, results=((name, inner),)))


def _peel_inputs(region: Graph) -> Graph:
    uses = region.uses()
    results = {value for _, value in region.results}
    renamed: dict[Value, Value] = {}
    inputs: list[Value] = []
    for value in region.inputs:
        readers = uses.get(value, [])
        shapes = {op.result.type.shape for op in readers if op.name == "reshape"}
        if len(shapes) == 1 and value not in results and _all_reshape(readers):
            reshaped = Value(value.name, value.type.with_shape(shapes.pop()))
            renamed.update((op.result, reshaped) for op in readers)
            inputs.append(reshaped)
        else:
            inputs.append(value)
    if not renamed:
        return region
    ops = tuple(
        replace(op, operands=tuple(renamed.get(v, v) for v in op.operands))
        for op in region.ops
        if not any(v in renamed for v in op.results)
    )
    returned = tuple((name, renamed.get(v, v)) for name, v in region.results)
    return _peel_inputs(replace(region, inputs=tuple(inputs), ops=ops, results=returned))


def _all_reshape(readers: list[Op]) -> bool:
    return all(op.name == "reshape" for op in readers)
