"""Random graphs that update their parameters: what native code leaves is what the interpreter does.

States read each other's old values, in place, turned round, shifted and summed up; and the answer
is the same bit for bit however many threads there are.
"""

from __future__ import annotations

import numpy as np
import pytest
from eager import eager
from hypothesis import given, note, seed, settings
from hypothesis import strategies as st
from seeds import note_seed, seed_of

import stepwell as sw
from stepwell import compilation
from stepwell.ir.dtypes import F32
from stepwell.ir.graph import GraphBuilder, interpret_step, print_graph
from stepwell.ir.graph.core import Graph, Value
from stepwell.ir.types import TensorType
from stepwell.pipeline import loop_passes

CASES = 50
SIZES = (3, 16, 17, 130)  # the last is shared among threads


def _step(data: st.DataObject, b: GraphBuilder, squares: list[Value], rows: list[Value]) -> None:
    """One more value, a square or a row, of those so far."""
    x, y, v = (data.draw(st.sampled_from(some)) for some in (squares, squares, rows))
    size = x.type.shape[0]
    match data.draw(st.integers(0, 9)):
        case 0 | 1:
            squares.append(b.op(data.draw(st.sampled_from(("add", "sub", "max"))), [x, y]))
        case 2:
            turned = b.op("transpose", [x], permutation=(1, 0))
            squares.append(b.op("add", [turned, y]))
        case 3:
            turned = b.op("reverse", [x], axes=(data.draw(st.integers(0, 1)),))
            squares.append(b.op("sub", [turned, y]))
        case 4:
            squares.append(b.op("tanh", [b.op("contract", [x, y], spec="ik,kj->ij")]))
        case 5:
            axes = (data.draw(st.integers(0, 1)),)
            squares.append(b.op("broadcast", [v], shape=(size, size), axes=axes))
        case 6:
            axes = (data.draw(st.integers(0, 1)),)
            rows.append(b.op("tanh", [b.op("reduce_sum", [x], axes=axes)]))
        case 7:
            rows.append(b.op("sub", [v, data.draw(st.sampled_from(rows))]))
        case 8:
            cut = data.draw(st.integers(0, size))
            parts = [((cut, 0), (size, size)), ((0, 0), (cut, size))]
            slices = [b.op("slice", [x], start=s, stop=e, step=(1, 1)) for s, e in parts]
            squares.append(b.op("concat", slices, axis=0))
        case _:
            half = b.op("constant", value=0.5, dtype=F32, shape=x.type.shape)
            squares.append(b.op("mul", [x, half]))


def _graph(data: st.DataObject) -> Graph:
    size = data.draw(st.sampled_from(SIZES))
    square, row = TensorType(F32, (size, size)), TensorType(F32, (size,))
    b = GraphBuilder("updates")
    x = b.input("x", square)
    states = [b.parameter(name, square, "zeros") for name in "abc"]
    states += [b.parameter(name, row, "zeros", kind="state") for name in "uv"]
    squares, rows = [x, *states[:3]], states[3:]
    for _ in range(data.draw(st.integers(2, 8))):
        _step(data, b, squares, rows)
    for state in states:
        known, made = (squares[:4], squares[4:]) if state.type == square else (rows[:2], rows[2:])
        some = made if made and data.draw(st.integers(0, 3)) else known
        if data.draw(st.integers(0, 4)):
            b.update(state, data.draw(st.sampled_from(some)))
    return b.finish([("y", data.draw(st.sampled_from(squares)))])


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "loop_passes", lambda *options: eager(loop_passes(*options)))


def _examine(graph: Graph, random: np.random.Generator) -> None:
    declared = (*graph.inputs, *(parameter.value for parameter in graph.parameters))
    arrays = {v.name: random.uniform(-1, 1, v.type.shape).astype("f4") for v in declared}
    inputs = {"x": arrays.pop("x")}
    results, updates = interpret_step(graph, inputs, arrays)
    left = []
    text = print_graph(graph)
    checking = graph.inputs[0].type.shape[0] < 17
    for threads in (1, 2):
        model = sw.compile(text, weights=arrays, threads=threads, check_each_pass=checking)
        np.testing.assert_allclose(model(**inputs), results["y"], atol=2e-4)
        for path, expected in {**arrays, **updates}.items():
            np.testing.assert_allclose(model.arrays[path], expected, atol=2e-4, err_msg=path)
        left.append(model.state.block.tobytes() if model.state else b"")
    assert left[0] == left[1]


def test_random_updates() -> None:
    @seed(seed_of(0))
    @settings(max_examples=CASES)
    @given(st.data(), st.integers(0, 99))
    def one(data: st.DataObject, values: int) -> None:
        graph = _graph(data)
        note_seed(0)
        note(print_graph(graph))
        _examine(graph, np.random.default_rng(values))

    one()
