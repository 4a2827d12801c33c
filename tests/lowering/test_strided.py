"""Phases of a stride: the gradient of a strided convolution is convolutions without a stride."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from stepwell.ir.dtypes import F32
from stepwell.ir.graph import Graph, GraphBuilder, interpret_graph
from stepwell.ir.graph.core import NotDifferentiable
from stepwell.ir.loop import interpret_program, verify_program
from stepwell.ir.loop.analysis import expressions_of
from stepwell.ir.loop.core import For, statements
from stepwell.ir.scalar import Binary, walk
from stepwell.ir.types import TensorType
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.strategies.products import reduction_nest
from stepwell.lowering.transforms.coarsen import common_shape
from stepwell.lowering.transforms.phases import phases
from tests.lowering.test_schedules import TARGETS, random, run_native, scheduled


@dataclass(frozen=True)
class Case:
    """A convolution of x (channels last) of whose gradient the kernel is."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    phases: int

    def graph(self) -> Graph:
        b = GraphBuilder("case")
        x, w = (b.input(n, TensorType(F32, s)) for n, s in (("x", self.x), ("w", self.w)))
        axes = len(self.x)
        first = b.op("transpose", [x], permutation=(0, axes - 1, *range(1, axes - 1)))
        padding = {"padding_low": self.padding, "padding_high": self.padding}
        geometry = {"stride": self.stride, "dilation": self.dilation, **padding}
        y = b.op("conv", [first, w], groups=1, **geometry)
        dy = b.input("dy", y.type)
        rule = b.ops[-1].definition.gradient
        assert not isinstance(rule, NotDifferentiable)
        dx, _ = rule(b, b.ops[-1], [dy])
        assert dx is not None
        last = b.op("transpose", [dx], permutation=(0, *range(2, axes), 1))
        return b.finish([("out", last)])


CASES = {
    "one axis": Case((2, 11, 5), (7, 5, 3), (2,), (1,), (1,), 2),
    "more stride than taps": Case((1, 10, 3), (4, 3, 1), (3,), (0,), (1,), 3),
    "two axes": Case((2, 8, 7, 18), (16, 18, 3, 3), (2, 2), (1, 1), (1, 1), 4),
    "one of two axes": Case((1, 6, 9, 16), (5, 16, 3, 3), (1, 3), (1, 0), (1, 1), 3),
    "dilated": Case((1, 16, 4), (3, 4, 3), (4,), (2,), (2,), 4),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_the_phases_are_the_gradient(name: str, target: str) -> None:
    case = CASES[name]
    graph = case.graph()
    program = scheduled(graph_to_loops(Fuse().run(graph)), target)
    verify_program(program)
    (kernel,) = program.kernels
    assert not any(
        isinstance(e, Binary) and e.op == "eq"
        for expr in expressions_of(kernel.body)
        for e in walk(expr)
    )
    arrays = {v.name: random(v.type, 1) for v in graph.inputs}
    expected = interpret_graph(graph, arrays)["out"].astype(np.float64)
    interpreted = interpret_program(program, arrays, {})["out"].astype(np.float64)
    np.testing.assert_allclose(interpreted, expected, rtol=1e-4, atol=1e-4)
    native = run_native(program, arrays, 1).astype(np.float64)
    np.testing.assert_allclose(native, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_each_phase_is_a_nest_of_its_own(name: str) -> None:
    (kernel,) = graph_to_loops(Fuse().run(CASES[name].graph())).kernels
    nests = reduction_nest(kernel)
    assert nests is not None
    parts = phases(kernel, *nests)
    assert len(parts) == CASES[name].phases
    assert all(sum(isinstance(s, For) for s in part.body) == 1 for part in parts)


@pytest.mark.parametrize(
    ("shapes", "common"),
    [
        ([(2, 3, 4), (2, 12)], (2, 12)),
        ([(6, 4), (2, 12)], (24,)),
        ([(1, 5), (5,)], (5,)),
        ([(2, 3), (2, 3)], (2, 3)),
    ],
)
def test_shapes_have_a_common_coarser_one(
    shapes: list[tuple[int, ...]], common: tuple[int, ...]
) -> None:
    assert common_shape(shapes) == common


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("window", "shape"), [(2, (2, 8, 12, 20)), (3, (2, 9, 11, 20))])
def test_a_poolings_gradient_is_one_nest_over_images_in_vectors(
    window: int, shape: tuple[int, ...], target: str
) -> None:
    b = GraphBuilder("pooling")
    x = b.input("x", TensorType(F32, shape))
    sides = {"window": window, "stride": 2, "dilation": 1}
    geometry = {name: (1, side, side, 1) for name, side in sides.items()}
    padding = dict.fromkeys(("padding_low", "padding_high"), (0, 0, 0, 0))
    y = b.op("window_max", [x], **geometry, **padding)
    op, dy = b.ops[-1], b.input("dy", y.type)
    rule = op.definition.gradient
    assert not isinstance(rule, NotDifferentiable)
    (dx,) = rule(b, op, [dy])
    assert dx is not None
    graph = b.finish([("out", dx)])
    program = scheduled(graph_to_loops(Fuse().run(graph)), target)
    verify_program(program)
    last = next(k for k in program.kernels if k.name == program.calls[-1].kernel)
    assert any(isinstance(s, For) and s.kind == "vector" for s in statements(last.body))
    assert sum(isinstance(s, For) for s in last.body) == 1
    arrays = {v.name: random(v.type, 1) for v in graph.inputs}
    expected = interpret_graph(graph, arrays)["out"]
    interpreted = interpret_program(program, arrays, {})["out"]
    np.testing.assert_allclose(interpreted, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run_native(program, arrays, 1), expected, rtol=1e-4, atol=1e-4)
