"""How passes on graphs are checked: see `stepwell.ir.checking`."""

from __future__ import annotations

import numpy as np

from stepwell.ir import size
from stepwell.ir.checking import Inputs, Kind, random_array, random_sizes
from stepwell.ir.diagnostics import InputError
from stepwell.ir.graph.core import Array, Graph
from stepwell.ir.graph.interpreter import run_step, static_type
from stepwell.ir.graph.parser import parse_graph
from stepwell.ir.graph.printer import print_graph
from stepwell.ir.graph.sizes import bind_sizes
from stepwell.ir.graph.verify import verify_graph
from stepwell.ir.scalar import Expr, Reduce, children
from stepwell.ir.size import product

LIMIT = 20_000_000  # evaluations of scalars: about a second
FAST = {"contract": 50, "conv": 50}  # operators whose reference does so many times more


def sample(graph: Graph, random: np.random.Generator) -> Inputs | None:
    """Inputs and parameters of small random sizes; None where the graph is too large."""
    sizes = random_sizes(graph.sizes, graph.constraints, random)
    if sizes is None or work(graph, sizes) > LIMIT:
        return None
    declared = (*graph.inputs, *(parameter.value for parameter in graph.parameters))
    arrays = {v.name: random_array(static_type(v.type, sizes), random) for v in declared}
    try:
        bind_sizes(graph, {name: array.shape for name, array in arrays.items()})
    except InputError:  # a size that no shape tells
        return None
    return arrays


def work(graph: Graph, sizes: dict[str, int]) -> int:
    """About how many scalar evaluations a run takes."""
    total = 0
    for op in graph.ops:
        total += sum(work(region, sizes) for region in op.regions)
        for formula in op.formulas():
            grid = size.evaluate(product([axis.extent for axis in formula.axes]), sizes)
            total += grid * _inner(formula.value, dict(sizes)) // FAST.get(op.name, 1)
    return total


def _inner(expr: Expr, sizes: dict[str, int]) -> int:
    own = 1
    if isinstance(expr, Reduce):
        for axis in expr.axes:
            own *= max(1, size.evaluate(axis.extent, sizes))
    return own * max((_inner(child, sizes) for child in children(expr)), default=1)


def interpret(graph: Graph, inputs: Inputs) -> dict[str, Array]:
    """The graph's results, and what it updates as `update path`."""
    sizes = bind_sizes(graph, {name: array.shape for name, array in inputs.items()})
    results, updates = run_step(graph, inputs, sizes, "native")
    return results | {f"update {path}": array for path, array in updates.items()}


GRAPHS = Kind("graph", (Graph,), print_graph, parse_graph, verify_graph, sample, interpret)
