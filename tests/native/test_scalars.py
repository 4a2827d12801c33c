"""What is computed of scalars before a kernel's loops is there in every kind of kernel."""

import numpy as np
import pytest

import stepwell as sw
from stepwell.compilation import Compilation, Options
from stepwell.ir.dtypes import F32
from stepwell.ir.graph import GraphBuilder, interpret_graph, parse_graph, print_graph
from stepwell.ir.types import TensorType
from stepwell.source import as_source

CONV = "stride = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilation = [1, 1], groups = "
IMAGE, TAPS = "f32[2, 16, 14, 14]", "f32[16, 16, 3, 3]"
CORRELATION = (
    "[o: 16, c: 16, p: 3, q: 3] -> sum[n: 2, i: 14, j: 14] x0[n, o, i, j] * "
    "x1[n, c, i + p - 1, j + q - 1 | i + p >= 1 and i + p < 15 and j + q >= 1 and j + q < 15]"
)
CASES = {
    "product": ("f32[30, 40]", "f32[40, 50]", 'contract(%x, %w) {spec = "ik,kj->ij"}'),
    "one row": ("f32[1, 40]", "f32[40, 50]", 'contract(%x, %w) {spec = "ik,kj->ij"}'),
    "batches": ("f32[3, 30, 40]", "f32[3, 40, 50]", 'contract(%x, %w) {spec = "bik,bkj->bij"}'),
    "convolution": (IMAGE, TAPS, f"conv(%x, %w) {{{CONV}1}}"),
    "depthwise": (IMAGE, "f32[16, 1, 3, 3]", f"conv(%x, %w) {{{CONV}16}}"),
    "correlation": (IMAGE, IMAGE, f"index(%x, %w) {{formula = {CORRELATION}}}"),
    "rows": ("f32[30, 40]", "f32[2]", "reduce_sum(%x) {axes = [1]}"),
    "columns": ("f32[30, 40]", "f32[2]", "reduce_sum(%x) {axes = [0]}"),
}


@pytest.mark.parametrize("winograd", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_scalar_first(name, winograd):
    x, w, op = CASES[name]
    shapes = {"product": "[30, 50]", "one row": "[1, 50]", "batches": "[3, 30, 50]"}
    shapes |= {"convolution": IMAGE[3:], "depthwise": IMAGE[3:], "correlation": TAPS[3:]}
    shape = shapes.get(name, "[30]" if name == "rows" else "[40]")
    text = f"""graph @f(%x: {x}, %w: {w}, %t: f32[]) {{
      %y = {op} : f32{shape}
      %e = exp(%t) : f32[]
      %s = broadcast(%e) {{shape = {shape}, axes = []}} : f32{shape}
      %z = mul(%y, %s) : f32{shape}
      return z = %z
    }}"""
    graph, random = parse_graph(text), np.random.default_rng(0)
    arrays = {v.name: random.uniform(-1, 1, v.type.shape).astype("f4") for v in graph.inputs}
    expected = interpret_graph(graph, arrays)["z"]
    found = sw.compile(text, winograd=winograd, check_each_pass=True)(**arrays)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("readers", "kernels"), [(2, 2), (40, 1)])
def test_many_kernels_share_one_scalar(readers, kernels):
    b = GraphBuilder("f")
    t = b.input("t", TensorType(F32))
    base = b.op("constant", value=0.9, dtype=F32, shape=())
    scalar = b.op("sqrt", [b.op("pow", [base, t])])
    results = []
    for i in range(readers):  # of different sizes: none is a result of another's kernel
        x = b.input(f"x{i}", TensorType(F32, (i + 2,)))
        scale = b.op("broadcast", [scalar], shape=(i + 2,), axes=())
        results.append((f"y{i}", b.op("mul", [x, scale])))
    program = Compilation(as_source(print_graph(b.finish(results))), Options()).naive_program
    assert sum("pow" in kernel.ops for kernel in program.kernels) == kernels
