"""Running a graph in NumPy, op by op, with each operator's reference.

In: a graph, and arrays for its inputs and parameters. Out: an array per result.

    interpret_graph(graph, {"x": x}, {"fc.weight": w})  →  {"out": array}

`precision="f64"` computes every float in f64, whatever its type: what the answer should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from stepwell.ir import size
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import F64, DType
from stepwell.ir.graph import attributes as attribute_rules
from stepwell.ir.graph.core import Array, Attribute, Graph, Op, Value
from stepwell.ir.graph.derivative import meaning
from stepwell.ir.graph.sizes import bind_sizes
from stepwell.ir.scalar import Cast, Const, Expr, Formula, Load, Var, map_children
from stepwell.ir.text import format_type
from stepwell.ir.types import TensorType

Precision = Literal["native", "f64"]


def interpret_graph(
    graph: Graph,
    inputs: Mapping[str, Array],
    parameters: Mapping[str, Array] | None = None,
    precision: Precision = "native",
) -> dict[str, Array]:
    """The graph's results by name. Sizes follow from the shapes.

    Raises InputError where an array is missing or does not fit, IndexError where an index of a
    gather is out of range.
    """
    return interpret_step(graph, inputs, parameters, precision)[0]


def interpret_step(
    graph: Graph,
    inputs: Mapping[str, Array],
    parameters: Mapping[str, Array] | None = None,
    precision: Precision = "native",
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The graph's results by name, and the new values of updated parameters by path. Raises as
    `interpret_graph` does; what is given stays as it is."""
    given = {**inputs, **(parameters or {})}
    declared = [*graph.inputs, *(parameter.value for parameter in graph.parameters)]
    arrays = {value.name: _checked(value, given) for value in declared}
    sizes = bind_sizes(graph, {name: array.shape for name, array in arrays.items()})
    return run_step(graph, arrays, sizes, precision)


def _checked(value: Value, given: Mapping[str, Array]) -> Array:
    if value.name not in given:
        raise InputError(f"{value.name} is missing: it is {format_type(value.type)}")
    array = np.asarray(given[value.name])
    if array.dtype not in (value.type.dtype.numpy, np.dtype(np.float64)) or (
        array.dtype.kind == "f" and not value.type.dtype.is_float
    ):
        raise InputError(
            f"{value.name} is {format_type(value.type)}; what is given is {array.dtype}"
        )
    return array


def run_graph(
    graph: Graph, arrays: Mapping[str, Array], sizes: Mapping[str, int], precision: Precision
) -> dict[str, Array]:
    """The results, given every input, parameter and size."""
    return run_step(graph, arrays, sizes, precision)[0]


def run_step(
    graph: Graph, arrays: Mapping[str, Array], sizes: Mapping[str, int], precision: Precision
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Results by name, updates by path, given every input, parameter and size. Values are dropped
    once used up."""
    wide = precision == "f64"
    values: dict[Value, Array] = {}
    for value in (*graph.inputs, *(parameter.value for parameter in graph.parameters)):
        dtype = _dtype(value.type.dtype, wide)
        values[value] = np.asarray(arrays[value.name]).astype(dtype.numpy, copy=False)
    last = _last_uses(graph)
    for position, op in enumerate(graph.ops):
        values.update(zip(op.results, run_op(op, values, sizes, precision), strict=True))
        for value in last.get(position, ()):
            del values[value]
    results = {name: values[value] for name, value in graph.results}
    return results, {value.name: values[new] for value, new in graph.updates}


def _last_uses(graph: Graph) -> dict[int, set[Value]]:
    """op number → the values that nothing uses after it."""
    last: dict[Value, int] = {}
    for position, op in enumerate(graph.ops):
        last.update(dict.fromkeys((*op.operands, *op.results), position))
    for value in graph.outcomes():
        last.pop(value, None)
    found: dict[int, set[Value]] = {}
    for value, position in last.items():
        found.setdefault(position, set()).add(value)
    return found


def run_op(
    op: Op, values: Mapping[Value, Array], sizes: Mapping[str, int], precision: Precision
) -> tuple[Array, ...]:
    """The op's results from its operands' arrays."""
    operands = [values[value] for value in op.operands]
    if op.regions:
        region = meaning(op)
        named = {v.name: a for v, a in zip(region.inputs, operands, strict=True)}
        return tuple(run_graph(region, named, sizes, precision).values())
    wide = precision == "f64"
    attributes = attribute_rules.bind(op.attributes, sizes)
    if wide:
        attributes = {name: _widen(value) for name, value in attributes.items()}
    types = [static_type(value.type, sizes, wide) for value in op.results]
    with np.errstate(all="ignore"):
        results = op.definition.reference(operands, attributes, types)
    return tuple(np.asarray(array) for array in results)


def static_type(type: TensorType, sizes: Mapping[str, int], wide: bool = False) -> TensorType:
    """The type with every size a number, floats as f64 where `wide`."""
    shape = tuple(size.evaluate(dim, sizes) for dim in type.shape)
    return TensorType(_dtype(type.dtype, wide), shape)


def _dtype(dtype: DType, wide: bool) -> DType:
    return F64 if wide and dtype.is_float else dtype


def _widen(value: Attribute) -> Attribute:
    match value:
        case DType():
            return _dtype(value, True)
        case Formula():
            return Formula(value.axes, _widen_expr(value.value))
        case np.ndarray() if value.dtype.kind not in "iub":
            return value.astype(np.float64)
    return value


def _widen_expr(expr: Expr) -> Expr:
    """The expression with f64 for every float type."""
    expr = map_children(expr, _widen_expr)
    match expr:
        case Const(value=value, dtype=dtype):
            return Const(value, _dtype(dtype, True))
        case Var(name=name, dtype=dtype):
            return Var(name, _dtype(dtype, True))
        case Load(buffer=buffer, indices=indices, dtype=dtype, guard=guard):
            return Load(buffer, indices, _dtype(dtype, True), guard)
        case Cast(x=x, dtype=dtype):
            return Cast(x, _dtype(dtype, True))
    return expr
