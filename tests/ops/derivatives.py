"""First and second derivatives of a graph against finite differences, along random directions.

    loss(x) = sum(w * f(x))      slope(x) = <gradient of loss at x, u>

`slope` must be the difference quotient of `loss` along u; and the gradient of `slope`, along a
direction of its own, that of `slope`. There is nothing to check where the loss is not finite (the
maximum of nothing), or has a kink: the quotients of both sides differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stepwell.ir.graph import Graph, GraphBuilder, Value, interpret_graph, verify_graph
from stepwell.ir.graph.core import Array
from stepwell.ir.graph.interpreter import static_type
from stepwell.ir.graph.sizes import bind_sizes

STEP = 1e-5
HUGE = 1e5


def check_derivatives(
    forward: Graph, arrays: Mapping[str, Array], random: np.random.Generator, orders: int = 2
) -> bool:
    """Raise AssertionError where a derivative is not the slope; whether all orders have one."""
    sizes = bind_sizes(forward, {name: array.shape for name, array in arrays.items()})
    floats = [i for i, value in enumerate(forward.inputs) if value.type.dtype.is_float]
    names = [forward.inputs[i].name for i in floats]
    region = _loss(forward)
    given = dict(arrays)
    for value in region.inputs[len(forward.inputs) :]:
        given[value.name] = _normal(value, sizes, random)
    for _ in range(orders):
        slope = _slope(region, floats)
        verify_graph(slope)
        moved = slope.inputs[-len(floats) :]
        directions = {value.name: _normal(value, sizes, random) for value in moved}
        pairs = list(zip(names, directions, strict=True))
        down, here, up = (
            _run(region, {**given, **{x: given[x] + s * directions[u] for x, u in pairs}})
            for s in (-STEP, 0, STEP)
        )
        given |= directions
        if not abs(here) < HUGE or _has_kink(down, here, up):
            return False
        found, expected = _run(slope, given), (up - down) / (2 * STEP)
        scale = abs(expected) + 1e-4 * abs(here) + 1e-3
        assert abs(found - expected) <= 1e-4 * scale, (found, expected)
        region = slope
    return True


def _has_kink(down: float, here: float, up: float) -> bool:
    rise, fall = (up - here) / STEP, (here - down) / STEP
    return not abs(rise - fall) <= 1e-2 * (abs(rise) + abs(fall)) + 1e-3 * (1 + abs(here))


def _run(graph: Graph, given: Mapping[str, Array]) -> float:
    inputs = {value.name: given[value.name] for value in graph.inputs}
    with np.errstate(all="ignore"):
        results = interpret_graph(graph, inputs, precision="f64")
    return float(next(iter(results.values())))


def _normal(value: Value, sizes: Mapping[str, int], random: np.random.Generator) -> Array:
    shape = [int(str(dim)) for dim in static_type(value.type, sizes).shape]
    return np.asarray(random.normal(size=shape))


def _loss(forward: Graph) -> Graph:
    """The sum of the float results, weighted."""
    b = GraphBuilder("loss", forward.sizes)
    inputs = [b.input(value.name, value.type) for value in forward.inputs]
    results = [v for v in b.inline(forward, inputs) if v.type.dtype.is_float]
    weights = [b.input(f"w{i}", value.type) for i, value in enumerate(results)]
    return b.finish([("loss", _products(b, results, weights))])


def _slope(region: Graph, wrt: Sequence[int]) -> Graph:
    """The gradient along a direction, which is one more input per array."""
    b = GraphBuilder("slope", region.sizes)
    inputs = [b.input(value.name, value.type) for value in region.inputs]
    gradients = b.region_op("gradient", inputs, [region], wrt=tuple(wrt))[1:]
    directions = [b.input("u", value.type) for value in gradients]
    return b.finish([("slope", _products(b, gradients, directions))])


def _products(b: GraphBuilder, x: Sequence[Value], y: Sequence[Value]) -> Value:
    total: Value | None = None
    for left, right in zip(x, y, strict=True):
        axes = tuple(range(left.type.rank))
        term = b.op("reduce_sum", [b.op("mul", [left, right])], axes=axes)
        total = term if total is None else b.op("add", [total, term])
    assert total is not None, "something is differentiated"
    return total
