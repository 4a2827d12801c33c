"""Gradients of depthwise convolutions to their weights: in one walk over the images."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.dtypes import F32, F64
from stepwell.ir.loop import interpret_program, verify_program
from stepwell.ir.loop.analysis import kernel_buffers
from stepwell.ir.size import symbol
from stepwell.ir.target import named
from stepwell.ir.types import TensorType
from stepwell.lowering.decompose import Decompose
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.strategies.depthwise_gradient import schedule_depthwise_gradient
from tests.lowering.test_schedules import TARGETS, graph_of, random, run_native, scheduled

N = symbol("N")
CASES: dict[str, tuple[str, list[TensorType]]] = {
    "3x3": (
        "[c: 37, p: 3, q: 3] -> sum[n: N, i: 7, j: 9] x0[n, i, j, c] * x1[n, i + p - 1, j + q - 1, "
        "c | i + p - 1 >= 0 and i + p - 1 < 7 and j + q - 1 >= 0 and j + q - 1 < 9]",
        [TensorType(F32, (N, 7, 9, 37)), TensorType(F32, (N, 7, 9, 37))],
    ),
    "strided, and then subtracted": (
        "[c: 16, o: 1, p: 2, q: 3] -> x2[c, o, p, q] - 0.5 * (sum[n: N, i: 6, j: 5] "
        "x0[n, i, j, c] * x1[n, 2*i + p, 2*j + q, c])",
        [
            TensorType(F32, (N, 6, 5, 16)),
            TensorType(F32, (N, 12, 11, 16)),
            TensorType(F32, (16, 1, 2, 3)),
        ],
    ),
    "one axis, in f64": (
        "[c: 9, p: 4] -> sum[n: N, i: 8] x0[n, i, c] * x1[n, i + 2*p, c]",
        [TensorType(F64, (N, 8, 9)), TensorType(F64, (N, 14, 9))],
    ),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_the_walk_gives_the_sums(name: str, target: str) -> None:
    text, types = CASES[name]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    assert schedule_depthwise_gradient(naive.kernels[0], named(target)) is not None
    program = scheduled(naive, target)
    verify_program(program)
    assert "padded" in kernel_buffers(program.kernels[0]) or name != "3x3"
    for n in (0, 1, 3):
        arrays = {f"x{i}": random(type, n) for i, type in enumerate(types)}
        expected = interpret_program(naive, arrays, {})["out"]
        interpreted = interpret_program(program, arrays, {})["out"]
        np.testing.assert_allclose(interpreted, expected, rtol=1e-4, atol=1e-4)
        native = run_native(program, arrays, n)
        np.testing.assert_allclose(native, expected, rtol=1e-4, atol=1e-4)
