"""Random graphs, all the way down: what native code computes is what the graph interpreter does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note, seed, settings
from hypothesis import strategies as st
from native_runs import run_native
from random_graphs import arrays_for, random_graph
from seeds import note_seed, seed_of

from stepwell.codegen.jit import NativeProgram
from stepwell.ir.graph import Graph, interpret_graph, parse_graph, print_graph
from stepwell.ir.loop.core import Program
from stepwell.ir.passes import parse_pipeline, run_pipeline
from stepwell.ir.target import host
from stepwell.lowering import passes
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.pipeline import graph_passes, loop_passes, pipeline

CASES = 500
SHARES = 2  # so that parallel runs can share the work
EXTENTS = (1, 2, 3, 16, 17, 40)
HUGE = 1e4  # past it a tolerance tells nothing
TOLERANCE = 2e-4

GRAPH_PASSES = {item.name: item for item in passes.GRAPH_PASSES}
LOOP_PASSES = {item.name: item for item in passes.LOOP_PASSES}


def _compiled(graph: Graph) -> Program:
    fused = run_pipeline(graph, parse_pipeline(pipeline(graph_passes()), passes=GRAPH_PASSES))
    scheduled = parse_pipeline(pipeline(loop_passes()), passes=LOOP_PASSES)
    program: Program = run_pipeline(graph_to_loops(fused), scheduled)
    return program


def _check(graph: Graph, size: int, data: int) -> None:
    arrays = arrays_for(graph, size, data)
    with np.errstate(all="ignore"):
        expected = interpret_graph(graph, arrays)
    if not all(np.nanmax(np.abs(a), initial=0) < HUGE for a in expected.values()):
        return
    program = _compiled(graph)
    native = NativeProgram.compile(program, host())
    found = run_native(native, program, {"N": size}, arrays)
    for name, wanted in expected.items():
        np.testing.assert_allclose(
            found[name], wanted, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
        )


@pytest.mark.parametrize("share", range(SHARES))
def test_random_graphs(share: int) -> None:
    @seed(seed_of(share))
    @settings(max_examples=CASES // SHARES)
    @given(st.data(), st.sampled_from(EXTENTS), st.integers(0, 99))
    def one(data: st.DataObject, size: int, values: int) -> None:
        note_seed(share)
        graph = random_graph(data)
        note(f"N = {size}\n{print_graph(graph)}")
        _check(graph, size, values)

    one()


def test_two_loops_of_which_the_inner_has_no_turns() -> None:
    """Fusing them divided by the extent of the inner one."""
    graph = parse_graph("""graph @f[N](%x: f32[N, 6]) {
      %s = slice(%x) {start = [0, 4], stop = [N, 4], step = [1, 1]} : f32[N, 0]
      %y = neg(%x) : f32[N, 6]
      return s = %s, y = %y
    }""")
    _check(graph, 3, 0)
