"""Correlations of images, the gradients of convolutions to their weights, are what they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stepwell.ir.dtypes import F32, F64
from stepwell.ir.loop import interpret_program, verify_program
from stepwell.ir.loop.analysis import kernel_buffers
from stepwell.ir.loop.core import Program
from stepwell.ir.size import symbol
from stepwell.ir.target import named
from stepwell.ir.types import TensorType
from stepwell.lowering.decompose import Decompose
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.plan_memory import PlanMemory
from stepwell.lowering.schedule import schedule_kernel
from tests.lowering.test_schedules import TARGETS, graph_of, random, run_native

N = symbol("N")
SAME = "i + p >= 1 and i + p < 8 and j + q >= 1 and j + q < 10"
CASES: dict[str, tuple[str, list[TensorType]]] = {
    "3x3": (
        "[o: 37, c: 21, p: 3, q: 3] -> sum[n: N, i: 7, j: 9] x0[n, i, j, o] * "
        f"x1[n, i + p - 1, j + q - 1, c | {SAME}]",
        [TensorType(F32, (N, 7, 9, 37)), TensorType(F32, (N, 7, 9, 21))],
    ),
    "strided, and then subtracted": (
        "[o: 16, c: 8, p: 5, q: 3] -> x2[o, c, p, q] - 0.5 * (sum[n: N, i: 6, j: 5] "
        "x1[n, 2*i + p, j + q, c] * x0[n, i, j, o])",
        [
            TensorType(F32, (N, 6, 5, 16)),
            TensorType(F32, (N, 15, 7, 8)),
            TensorType(F32, (16, 8, 5, 3)),
        ],
    ),
    "dilated, in f64": (
        "[o: 9, c: 40, p: 2, q: 3] -> sum[n: N, i: 5, j: 6] x0[n, i, j, o] * "
        "x1[n, i + 3*p, j + 2*q, c]",
        [TensorType(F64, (N, 5, 6, 9)), TensorType(F64, (N, 8, 10, 40))],
    ),
    "channels first": (
        "[o: 20, c: 12, p: 3] -> sum[n: N, i: 11] x0[n, o, i] * x1[n, c, i + p - 1 | "
        "i + p >= 1 and i + p < 12]",
        [TensorType(F32, (N, 20, 11)), TensorType(F32, (N, 12, 11))],
    ),
}


def _naive(name: str) -> Program:
    text, types = CASES[name]
    return graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))


@pytest.mark.parametrize("l2", [0, 4096], ids=["whole images", "blocks of rows"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_a_tiled_correlation_is_the_sum(name: str, target: str, l2: int) -> None:
    naive, machine = _naive(name), named(target)
    machine = replace(machine, l2=l2 or machine.l2)
    kernels = tuple(schedule_kernel(kernel, machine) for kernel in naive.kernels)
    program = PlanMemory().run(replace(naive, kernels=kernels))
    verify_program(program)
    assert "planes" in kernel_buffers(program.kernels[0])
    for n in (0, 1, 5):
        arrays = {f"x{i}": random(type, n) for i, type in enumerate(CASES[name][1])}
        expected = interpret_program(naive, arrays, {})["out"]
        interpreted = interpret_program(program, arrays, {})["out"]
        np.testing.assert_allclose(interpreted, expected, rtol=1e-4, atol=1e-4)
        native = run_native(program, arrays, n)
        np.testing.assert_allclose(native, expected, rtol=1e-4, atol=1e-4)


def test_a_guard_that_says_more_than_what_is_outside_is_kept() -> None:
    text, types = CASES["3x3"]
    graph = graph_of(text.replace("j + q < 10", "j + q < 9"), types)
    (kernel,) = graph_to_loops(Fuse().run(Decompose().run(graph))).kernels
    assert "planes" not in kernel_buffers(schedule_kernel(kernel, named("x86-64-v3")))
