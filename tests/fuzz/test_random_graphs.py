"""Random graphs, all the way down: what native code computes is what the graph interpreter does."""

from __future__ import annotations

import numpy as np
import pytest
from eager import eager
from graph_programs import Case, Unfit, cases
from hypothesis import given, note, seed, settings
from hypothesis import strategies as st
from native_runs import run_native
from random_graphs import arrays_for, random_graph
from seeds import note_seed, seed_of

from stepwell.codegen.modules import compile_objects
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
FEW = 80  # graphs of the passes' own generator: f32, deeper
HUGE = 1e4  # past it a tolerance tells nothing
TOLERANCE = 2e-4

GRAPH_PASSES = {item.name: item for item in passes.GRAPH_PASSES}
LOOP_PASSES = {item.name: item for item in passes.LOOP_PASSES}


def _compiled(graph: Graph) -> Program:
    fused = run_pipeline(graph, parse_pipeline(pipeline(graph_passes()), passes=GRAPH_PASSES))
    scheduled = parse_pipeline(pipeline(eager(loop_passes())), passes=LOOP_PASSES)
    program: Program = run_pipeline(graph_to_loops(fused), scheduled)
    return program


def examine(case: Case, other: int) -> int:
    """Compiles once and runs for two N; how many results were compared."""
    bindings = []
    for sizes in (case.sizes, {**case.sizes, "N": other}):
        arrays = case.arrays(sizes)
        try:
            bindings.append((sizes, arrays, case.errors(sizes, arrays)))
        except Unfit:
            continue
    program = _compiled(case.graph)
    objects = compile_objects(program, host())
    for sizes, arrays, errors in bindings:
        note(f"sizes {sizes}\n{arrays}")
        expected = interpret_graph(case.graph, arrays)
        found = run_native(objects, program, sizes, arrays)
        for name, wanted in expected.items():
            assert found[name].dtype == wanted.dtype
            # Twice: our error and the interpreter's.
            np.testing.assert_allclose(
                found[name].astype(np.float64) if wanted.dtype.kind not in "iub" else found[name],
                wanted.astype(np.float64) if wanted.dtype.kind not in "iub" else wanted,
                rtol=0,
                atol=2 * errors[name],
                err_msg=name,
            )
    return len(bindings)


@pytest.mark.parametrize("share", range(SHARES))
def test_random_graphs(share: int) -> None:
    """Every operator, every element type, sizes of 0, 1 and around the vector width."""
    compared = 0

    @seed(seed_of(share))
    @settings(max_examples=CASES // SHARES)
    @given(cases(), st.sampled_from((0, 1, 8, 13)))
    def one(case: Case, other: int) -> None:
        nonlocal compared
        note_seed(share)
        note(print_graph(case.graph))
        compared += examine(case, other)

    one()
    assert compared > CASES // SHARES


def _check(graph: Graph, size: int, data: int) -> None:
    arrays = arrays_for(graph, size, data)
    with np.errstate(all="ignore"):
        expected = interpret_graph(graph, arrays)
    if not all(np.nanmax(np.abs(a), initial=0) < HUGE for a in expected.values()):
        return
    program = _compiled(graph)
    objects = compile_objects(program, host())
    found = run_native(objects, program, {"N": size}, arrays)
    for name, wanted in expected.items():
        np.testing.assert_allclose(
            found[name], wanted, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
        )


@settings(max_examples=FEW)
@given(st.data(), st.sampled_from(EXTENTS), st.integers(0, 99))
def test_random_graphs_of_floats(data: st.DataObject, size: int, values: int) -> None:
    graph = random_graph(data)
    note(f"N = {size}\n{print_graph(graph)}")
    _check(graph, size, values)


def test_two_loops_of_which_the_inner_has_no_turns() -> None:
    """Fusing them divided by the extent of the inner one."""
    graph = parse_graph("""graph @f[N](%x: f32[N, 6]) {
      %s = slice(%x) {start = [0, 4], stop = [N, 4], step = [1, 1]} : f32[N, 0]
      %y = neg(%x) : f32[N, 6]
      return s = %s, y = %y
    }""")
    _check(graph, 3, 0)
