"""Random graphs through every graph pass, one after the other, and down to loops.

After each pass the text parses back, the verifier is content, and the answers are as before; the
fused graph is lowered to naive loops with its memory planned, and the loop interpreter agrees.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import arrays_for, random_graph

from stepwell.ir.graph import Graph, interpret_graph, parse_graph, print_graph, verify_graph
from stepwell.ir.graph.core import Array
from stepwell.ir.loop.interpreter import interpret_program
from stepwell.lowering.canonicalize import Canonicalize
from stepwell.lowering.cse import Cse
from stepwell.lowering.dce import Dce
from stepwell.lowering.decompose import Decompose
from stepwell.lowering.fold import Fold
from stepwell.lowering.fuse import Fuse, explain
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.plan_memory import PlanMemory, memory_report

PASSES = (Canonicalize(), Fold(), Cse(), Decompose(), Canonicalize(), Cse(), Dce(), Fuse())
TOLERANCE = 1e-4  # a contraction may sum in another order
HUGE = 1e4  # past it a tolerance tells nothing


def _run(graph: Graph, arrays: dict[str, Array]) -> dict[str, Array]:
    with np.errstate(all="ignore"):
        return interpret_graph(graph, arrays)


def _assert_same(actual: dict[str, Array], expected: dict[str, Array], what: str) -> None:
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        np.testing.assert_allclose(
            actual[name], wanted, rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"{name} after {what}"
        )


def _tame(results: dict[str, Array]) -> bool:
    return all(np.nanmax(np.abs(a), initial=0) < HUGE for a in results.values())


@settings(max_examples=120)
@given(st.data())
def test_random_graphs_mean_the_same_after_every_pass(data: st.DataObject) -> None:
    graph = random_graph(data)
    size = data.draw(st.sampled_from((1, 3, 4)))
    arrays = arrays_for(graph, size)
    expected = _run(graph, arrays)
    if not _tame(expected):
        return
    for item in PASSES:
        after = item.run(graph)
        verify_graph(after)
        assert parse_graph(print_graph(after)) == after
        _assert_same(_run(after, arrays), expected, item.name)
        if item.name == "fuse":
            assert all(op.name in ("kernel", "constant") for op in after.ops)
            assert all(decision.reason for decision in explain(graph))
        graph = after
    program = PlanMemory().run(graph_to_loops(graph))
    workspace, naive, peak = memory_report(program).at({"N": size})
    assert peak <= naive
    assert workspace <= 2 * naive
    inputs = {value.name: arrays[value.name] for value in graph.inputs}
    weights = {p.path: arrays[p.path] for p in graph.parameters}
    results = interpret_program(program, inputs, weights, {"N": size})
    _assert_same({name: results[name] for name in expected}, expected, "graph_to_loops")
