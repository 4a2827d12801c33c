"""Schedules keep the meaning: naive nest = scheduled nest = native code, for each family.

Each case is one formula; sizes around the vector width, empty ones, and several targets.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stepwell.codegen.jit import NativeProgram
from stepwell.ir.dtypes import BF16, BOOL, F16, F32, F64, I8, I32, I64
from stepwell.ir.graph import Graph, GraphBuilder
from stepwell.ir.loop import interpret_program, verify_program
from stepwell.ir.loop.analysis import kernel_buffers, loads_of, stores_of
from stepwell.ir.loop.core import For, If, Program, Store, statements
from stepwell.ir.parse import parse_formula
from stepwell.ir.resolve import Scope
from stepwell.ir.scalar import Binary, Var, index
from stepwell.ir.size import evaluate, symbol
from stepwell.ir.target import host, named
from stepwell.ir.types import TensorType
from stepwell.lowering.decompose import Decompose
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.plan_memory import PlanMemory
from stepwell.lowering.schedule import schedule_kernel

N = symbol("N")
CASES: dict[str, tuple[str, list[TensorType]]] = {
    "elementwise": (
        "[n: N, j: 4, k: 10] -> tanh(x0[n, j, k]) * x1[k]",
        [TensorType(F32, (N, 4, 10)), TensorType(F32, (10,))],
    ),
    "integers": (
        "[n: N, k: 40] -> x0[n, k] * x1[k]",
        [TensorType(I8, (N, 40)), TensorType(I8, (40,))],
    ),
    "transpose": ("[i: 21, n: N] -> x0[n, i]", [TensorType(F32, (N, 21))]),
    "gather": (
        "[n: N, j: 21] -> x0[i64(x1[n]), j]",
        [TensorType(F32, (11, 21)), TensorType(I32, (N,))],
    ),
    "sum of rows": ("[i: 5] -> sum[n: N] x0[i, n]", [TensorType(F32, (5, N))]),
    "sum of columns": ("[j: 37] -> sum[n: N] x0[n, j]", [TensorType(F32, (N, 37))]),
    "sum in f64": ("[n: N] -> sum[k: 40] x0[n, k]", [TensorType(F64, (N, 40))]),
    "any": ("[n: N] -> any[k: 40] x0[n, k]", [TensorType(BOOL, (N, 40))]),
    "argmax": ("[n: N] -> argmax[k: 10] x0[n, k]", [TensorType(F32, (N, 10))]),
    "maximum in windows": (
        "[n: N, y: 20, x: 20] -> max[p: 2, q: 2] x0[n, 2*y + p, 2*x + q]",
        [TensorType(F32, (N, 40, 41))],
    ),
    "depthwise": (
        "[n: N, c: 5, x: 20] -> sum[q: 3 where x + q >= 1 and x + q <= 20] "
        "x0[n, c, x + q - 1] * x1[c, q]",
        [TensorType(F32, (N, 5, 20)), TensorType(F32, (5, 3))],
    ),
    "matrix product": (
        "[n: N, j: 33] -> sum[k: 20] x0[n, k] * x1[k, j]",
        [TensorType(F32, (N, 20)), TensorType(F32, (20, 33))],
    ),
    "rows of a number": (
        "[n: 2, i: 29, j: N] -> sum[k: 20] x0[n, i, k] * x1[k, j]",
        [TensorType(F32, (2, 29, 20)), TensorType(F32, (20, N))],
    ),
    "columns of a number": (
        "[n: N, i: 9, j: 37] -> sum[k: 20] x0[n, i, k] * x1[n, k, j]",
        [TensorType(F32, (N, 9, 20)), TensorType(F32, (N, 20, 37))],
    ),
    "rows side by side": (
        "[i: 31, j: 37] -> sum[k: N] x0[k, i] * x1[j, k]",
        [TensorType(F32, (N, 31)), TensorType(F32, (37, N))],
    ),
    "transposed product": (
        "[n: 3, i: N, j: 33] -> sum[k: 20] x0[n, i, k] * x1[n, j, k]",
        [TensorType(F32, (3, N, 20)), TensorType(F32, (3, 33, 20))],
    ),
    "product with rows": (
        "[i: N, j: 64] -> sum[k: 20] x0[i, k] * x1[j, k]",
        [TensorType(F32, (N, 20)), TensorType(F32, (64, 20))],
    ),
    "product of halves": (
        "[n: N, j: 33] -> sum[k: 20] f32(x0[n, k]) * f32(x1[k, j])",
        [TensorType(F16, (N, 20)), TensorType(BF16, (20, 33))],
    ),
    "one row": (
        "[n: 1, j: 77] -> sum[k: N] x0[n, k] * x1[k, j]",
        [TensorType(F32, (1, N)), TensorType(F32, (N, 77))],
    ),
    "three rows along columns": (
        "[b: 2, n: 3, j: N] -> sum[k: 43] x0[n, b, k] * x1[b, k, j]",
        [TensorType(F32, (3, 2, 43)), TensorType(F32, (2, 43, N))],
    ),
    "dot products": (
        "[j: N] -> sum[k: 50] f32(x0[k]) * x1[j, k]",
        [TensorType(F16, (50,)), TensorType(F32, (N, 50))],
    ),
    "dot products of two rows": (
        "[n: 2, j: 77] -> sum[k: N, l: 4] x0[n, k, l] * x1[j, k, l]",
        [TensorType(F32, (2, N, 4)), TensorType(F32, (77, N, 4))],
    ),
    "convolution": (
        "[n: N, o: 7, y: 9, x: 9] -> sum[c: 5, p: 3, q: 3 "
        "where y + p >= 1 and y + p <= 9 and x + q >= 1 and x + q <= 9] "
        "x0[n, c, y + p - 1, x + q - 1] * x1[o, c, p, q]",
        [TensorType(F32, (N, 5, 9, 9)), TensorType(F32, (7, 5, 3, 3))],
    ),
}
TARGETS = ("native", "x86-64-v3", "x86-64-v2")


def graph_of(text: str, types: list[TensorType]) -> Graph:
    """A graph of one `index` op."""
    buffers = {f"x{i}": type.dtype for i, type in enumerate(types)}
    formula = parse_formula(text, Scope({"N": I64}, buffers))
    builder = GraphBuilder("case", ["N"])
    inputs = [builder.input(f"x{i}", type) for i, type in enumerate(types)]
    return builder.finish([("out", builder.op("index", inputs, formula=formula))])


def random(type: TensorType, n: int) -> np.ndarray:
    shape = tuple(evaluate(dim, {"N": n}) for dim in type.shape)
    generator = np.random.default_rng(n)
    if type.dtype.is_float:
        return generator.standard_normal(shape).astype(type.dtype.numpy)
    if type.dtype == BOOL:
        return generator.random(shape) < 0.05
    return generator.integers(0, 11, shape).astype(type.dtype.numpy)


def run_native(program: Program, arrays: dict[str, np.ndarray], n: int) -> np.ndarray:
    native = NativeProgram.compile(program, host())
    (output,) = program.with_role("output")
    out = np.empty([evaluate(d, {"N": n}) for d in output.buffer.shape], output.buffer.dtype.numpy)
    memory = np.full(evaluate(program.workspace or 0, {"N": n}) + 64, 255, np.uint8)
    workspace = (memory.ctypes.data + 63) // 64 * 64
    pointers = [array.ctypes.data for array in arrays.values()]
    sizes = [n] * len(program.sizes)
    assert native.run(sizes, pointers, [out.ctypes.data], workspace, workspace) == 0
    return out


def scheduled(program: Program, target: str) -> Program:
    kernels = [schedule_kernel(kernel, named(target)) for kernel in program.kernels]
    return PlanMemory().run(replace(program, kernels=tuple(kernels)))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES)
def test_schedule_keeps_the_meaning(case: str, target: str) -> None:
    text, types = CASES[case]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    program = scheduled(naive, target)
    verify_program(program)
    for n in (0, 1, 3, 16, 19):
        arrays = {f"x{i}": random(type, n) for i, type in enumerate(types)}
        expected = interpret_program(naive, arrays, {})["out"].astype(np.float64)
        interpreted = interpret_program(program, arrays, {})["out"].astype(np.float64)
        np.testing.assert_allclose(interpreted, expected, rtol=1e-4, atol=1e-4)
        native = run_native(program, arrays, n).astype(np.float64)
        np.testing.assert_allclose(native, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [c for c in CASES if c not in ("argmax", "transpose", "gather")])
def test_schedule_vectorises(case: str) -> None:
    text, types = CASES[case]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    kinds = {
        s.kind
        for kernel in scheduled(naive, "x86-64-v3").kernels
        for s in statements(kernel.body)
        if isinstance(s, For)
    }
    assert "vector" in kinds


def test_a_product_is_packed_and_register_tiled() -> None:
    text, types = CASES["matrix product"]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    (kernel,) = scheduled(naive, "x86-64-v3").kernels
    buffers = kernel_buffers(kernel)
    assert {"a_panels", "b_panels"} <= set(buffers)
    accumulators = [b for b in buffers.values() if b.space == "register"]
    # Whole tiles of 6 rows, and lower ones of what a run leaves.
    assert [b.shape for b in accumulators] == [(2, 6, 8), (2, 2, 8)]


def test_a_product_of_known_rows_reads_them_in_place() -> None:
    """58 rows on 16 registers: nine tiles of 6 rows, and one of 4, none of it copied first."""
    text, types = CASES["rows of a number"]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    (kernel,) = scheduled(naive, "x86-64-v3").kernels
    buffers = kernel_buffers(kernel).values()
    assert [b.name for b in buffers if b.space == "scratch"] == ["b_panels"]
    assert [b.shape for b in buffers if b.space == "register"] == [(2, 6, 8), (2, 4, 8)]
    # Spare columns are no matter of A's: each of its elements is one load for all lanes.
    a = kernel.parameters[0].buffer.name
    assert {load.guard for load in loads_of(kernel.body) if load.buffer == a} == {None}


def test_columns_that_fill_no_panel_have_fewer_vectors() -> None:
    """Of 37 columns 32 are whole panels of 2 × 8, stored without masks, and 5 are one vector."""
    text, types = CASES["columns of a number"]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    (kernel,) = scheduled(naive, "x86-64-v3").kernels
    registers = [b.shape for b in kernel_buffers(kernel).values() if b.space == "register"]
    assert {(shape[0], shape[-1]) for shape in registers} == {(2, 8), (1, 8)}
    masked = {s.condition for s in statements(kernel.body) if isinstance(s, If)}
    limits = {condition.y for condition in masked if isinstance(condition, Binary)}
    assert limits == {index(5)}


def test_panels_are_written_in_order() -> None:
    """The innermost loop of each packing walks along the last axis of its panels."""
    text, types = CASES["matrix product"]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    (kernel,) = scheduled(naive, "x86-64-v3").kernels
    innermost = {}
    for loop in statements(kernel.body):
        if isinstance(loop, For) and isinstance(loop.body[-1], Store):
            last = loop.body[-1].indices[-1]
            innermost[loop.body[-1].buffer] = (loop.kind, last == Var(loop.index))
    assert innermost["a_panels"] == ("unrolled", True)
    assert innermost["b_panels"] == ("vector", True)


def test_panels_are_read_a_row_of_the_matrix_at_a_time() -> None:
    """Where columns fill whole panels: of 64, a row goes to two panels before the next is read."""
    types = [TensorType(F32, (40, 600)), TensorType(F32, (600, 64))]
    naive = graph_to_loops(
        Fuse().run(
            Decompose().run(graph_of("[i: 40, j: 64] -> sum[k: 600] x0[i, k] * x1[k, j]", types))
        )
    )
    kernel = schedule_kernel(naive.kernels[0], named("x86-64-v4"))
    fill = [
        loop.extent
        for loop in statements(kernel.body)
        if isinstance(loop, For) and {t.buffer for t in stores_of((loop,))} == {"b_panels"}
    ]
    assert fill == [600, 2, 2, 16]


def test_panels_of_rows_are_filled_by_squares() -> None:
    """Of 20 terms, 16 by squares of 16 rows and terms, and 4 by themselves."""
    text, types = CASES["product with rows"]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    kernel = schedule_kernel(naive.kernels[0], named("x86-64-v4"))
    kinds = [
        (loop.kind, loop.extent)
        for loop in statements(kernel.body)
        if isinstance(loop, For) and {t.buffer for t in stores_of((loop,))} == {"b_panels"}
    ]
    assert ("unrolled", 16) in kinds and kinds[kinds.index(("unrolled", 16)) + 1] == ("vector", 16)


def test_sums_of_rows_kept_as_axes_of_one_go_along_the_rows() -> None:
    builder = GraphBuilder("f")
    x = builder.input("x", TensorType(F32, (64, 256)))
    total = builder.op("reduce_sum", [x], axes=(1,))
    root = builder.op("sqrt", [builder.op("reshape", [total], shape=(64, 1))])
    (kernel,) = graph_to_loops(Fuse().run(builder.finish([("y", root)]))).kernels
    loads = loads_of(schedule_kernel(kernel, named("x86-64-v4")).body)
    assert all("lane" not in str(load.indices[0]) for load in loads if load.buffer == "x")


def test_what_a_guard_leaves_out_counts_as_nothing_beside_infinity() -> None:
    text = "[n: N, o: 8, t: 16] -> sum[k: 3 where t >= k] x0[o, k] * x1[n, t - k]"
    types = [TensorType(F32, (8, 3)), TensorType(F32, (N, 16))]
    naive = graph_to_loops(Fuse().run(Decompose().run(graph_of(text, types))))
    weights = np.ones((8, 3), np.float32)
    weights[:, 2] = np.inf
    arrays = {"x0": weights, "x1": np.ones((4, 16), np.float32)}
    out = run_native(scheduled(naive, "native"), arrays, 4)
    assert (out[:, :, :2] == [1, 2]).all()
    assert (out[:, :, 2:] == np.inf).all()


def test_a_transposed_copy_goes_by_squares() -> None:
    builder = GraphBuilder("f")
    x = builder.input("x", TensorType(F32, (32, 48)))
    graph = builder.finish([("y", builder.op("transpose", [x], permutation=(1, 0)))])
    (kernel,) = graph_to_loops(Fuse().run(graph)).kernels
    loops = [s for s in statements(schedule_kernel(kernel, named("x86-64-v4")).body)
             if isinstance(s, For)]  # fmt: skip
    assert [(loop.kind, loop.extent) for loop in loops[-2:]] == [("unrolled", 16), ("vector", 16)]
