"""Winograd's method: the same convolution, within its error bound; chosen where it pays."""

from __future__ import annotations

import numpy as np
import pytest

import stepwell as sw
from stepwell.ir.dtypes import F32
from stepwell.ir.graph import interpret_graph
from stepwell.ir.loop import interpret_program, verify_program
from stepwell.ir.loop.analysis import kernel_buffers
from stepwell.ir.target import named
from stepwell.ir.types import TensorType
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.schedule import schedule_kernel
from stepwell.lowering.strategies.winograd_matrices import F2, F4, Transforms, growth
from tests.lowering.test_convolution import Case, N
from tests.lowering.test_schedules import TARGETS, graph_of, random, run_native, scheduled

CASES = {
    "padded": Case((N, 12, 12, 32), (32, 32, 3, 3), padding=1, last=True),
    "not a multiple of the tile": Case((1, 11, 14, 32), (16, 32, 3, 3), padding=1, last=True),
    "without padding": Case((2, 14, 13, 16), (32, 16, 3, 3), last=True),
}
UNIT = 2.0**-24


@pytest.mark.parametrize("transforms", [F2, F4])
def test_the_matrices_give_the_correlation_in_rational_numbers(transforms: Transforms) -> None:
    b, g, a = (np.array(m) for m in (transforms.inputs, transforms.weights, transforms.outputs))
    generator = np.random.default_rng(0)
    d = generator.integers(-9, 9, (transforms.size,) * 2).astype(float)
    w = generator.integers(-9, 9, (3, 3)).astype(float)
    found = a @ ((g @ w @ g.T) * (b @ d @ b.T)) @ a.T
    m = transforms.m
    direct = [[np.sum(d[i : i + 3, j : j + 3] * w) for j in range(m)] for i in range(m)]
    np.testing.assert_allclose(found, direct, rtol=1e-12, atol=1e-10)


def test_the_growth_that_the_error_bound_names() -> None:
    assert growth(F2) == pytest.approx(64)
    assert growth(F4) == pytest.approx(2304)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_winograd_is_the_convolution(name: str, target: str) -> None:
    case = CASES[name]
    program = scheduled(case.naive(), target)
    verify_program(program)
    assert "patches" in kernel_buffers(program.kernels[0])
    for n in (0, 1, 2) if N in case.x else (1,):
        inputs = case.graph().inputs
        arrays = {value.name: random(value.type, n) for value in inputs}
        expected = interpret_graph(case.graph(), arrays)["out"].astype(np.float64)
        native = run_native(program, arrays, n).astype(np.float64)
        np.testing.assert_allclose(native, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(("rows", "applies"), [(13, True), (9, False)])
def test_what_a_guard_leaves_out_beside_the_padding_stays_out(rows: int, applies: bool) -> None:
    text = (
        "[i: 12, j: 12, o: 32] -> sum[c: 32, p: 3, q: 3] x1[o, c, p, q] * x0[i + p - 1, j + q - 1, "
        f"c | i + p >= 1 and i + p < {rows} and j + q >= 1 and j + q < 13]"
    )
    types = [TensorType(F32, (12, 12, 32)), TensorType(F32, (32, 32, 3, 3))]
    (kernel,) = graph_to_loops(Fuse().run(graph_of(text, types))).kernels
    kernel = schedule_kernel(kernel, named("x86-64-v3"))
    assert ("patches" in kernel_buffers(kernel)) is applies


def test_the_interpreter_runs_it_too() -> None:
    case = Case((1, 4, 4, 16), (16, 16, 3, 3), padding=1, last=True)
    program = scheduled(case.naive(), "x86-64-v3")
    assert "patches" in kernel_buffers(program.kernels[0])
    arrays = {value.name: random(value.type, 1) for value in case.graph().inputs}
    expected = interpret_graph(case.graph(), arrays)["out"]
    found = interpret_program(program, arrays, {})["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_it_can_be_forbidden() -> None:
    (kernel,) = CASES["padded"].naive().kernels
    direct = schedule_kernel(kernel, named("x86-64-v3"), winograd=False)
    assert "patches" not in kernel_buffers(direct)


SOURCE = """use nn
model m(x: f32[1, 32, 20, 20]) -> f32[1, 32, 20, 20] {
    let first = nn.conv2d(x, channels: 32, kernel: 1)
    nn.conv2d(first, channels: 32, kernel: 3, padding: 1) |> nn.conv2d(channels: 32, kernel: 1)
}
"""


def test_the_error_stays_below_the_bound_and_near_the_direct_one() -> None:
    x = np.random.default_rng(0).standard_normal((1, 32, 20, 20)).astype("f")
    quick, direct = (sw.compile(SOURCE, winograd=w, cache=False) for w in (True, False))
    weights = {k: v.astype(np.float64) for k, v in quick.parameters.items()}
    exact = sw.compile(SOURCE.replace("f32", "f64"), weights=weights, cache=False)
    reference = exact(x.astype(np.float64))
    size = np.abs(reference).max()
    errors = [np.abs(model(x) - reference).max() / size for model in (quick, direct)]
    assert 0 < errors[1] <= errors[0] < 32 * growth(F4) * UNIT
    assert errors[0] < 1e-5
