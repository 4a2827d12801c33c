"""A softmax that keeps its maximum and its sum is one kernel; its loops over rows store them,
whatever axis it goes along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stepwell as sw

TEXT = """
graph @softmax[N](%x: f32[N, 5, 20]) {{
  %m = reduce_max(%x) {{axes = [{axis}]}} : f32[{rows}]
  %mb = broadcast(%m) {{shape = [N, 5, 20], axes = [{kept}]}} : f32[N, 5, 20]
  %d = sub(%x, %mb) : f32[N, 5, 20]
  %e = exp(%d) : f32[N, 5, 20]
  %s = reduce_sum(%e) {{axes = [{axis}]}} : f32[{rows}]
  %t = sqrt(%s) : f32[{rows}]
  %tb = broadcast(%t) {{shape = [N, 5, 20], axes = [{kept}]}} : f32[N, 5, 20]
  %p = div(%e, %tb) : f32[N, 5, 20]
  return p = %p, m = %m, t = %t
}}
"""


@pytest.mark.parametrize(
    ("axis", "kept", "rows"), [(2, "0, 1", "N, 5"), (1, "0, 2", "N, 20"), (0, "1, 2", "5, 20")]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_are_results_too(
    axis: int, kept: str, rows: str, threads: int, tmp_path: Path
) -> None:
    source = tmp_path / "softmax.sw"
    source.write_text(TEXT.format(axis=axis, kept=kept, rows=rows))
    model = sw.compile(source, threads=threads)
    assert str(model.stage("loops")).count("\nkernel ") == 1
    for n in (1, 19, 300):
        x = np.random.default_rng(n).standard_normal((n, 5, 20)).astype(np.float32)
        p, m, t = model(x)
        e = np.exp(x - x.max(axis, keepdims=True))
        root = np.sqrt(e.sum(axis, keepdims=True))
        np.testing.assert_array_equal(m, x.max(axis))
        np.testing.assert_allclose(t, root.squeeze(axis), rtol=1e-5)
        np.testing.assert_allclose(p, e / root, rtol=1e-5)


def test_a_convolution_is_joined_by_what_follows(tmp_path: Path) -> None:
    """It has one nest: what of its channels alone others need, too, is no result of its kernel."""
    text = """
graph @scaled[N](%x: f32[N, 14, 14, 16], %w: f32[32, 16, 3, 3], %v: f32[N, 14, 14, 32]) {
  %i = transpose(%x) {permutation = [0, 3, 1, 2]} : f32[N, 16, 14, 14]
  %y = conv(%i, %w) {stride = [1, 1], padding_low = [1, 1], padding_high = [1, 1], \
dilation = [1, 1], groups = 1} : f32[N, 32, 14, 14]
  %o = transpose(%y) {permutation = [0, 2, 3, 1]} : f32[N, 14, 14, 32]
  %s = reduce_sum(%v) {axes = [0, 1, 2]} : f32[32]
  %r = rsqrt(%s) : f32[32]
  %b = broadcast(%r) {shape = [N, 14, 14, 32], axes = [3]} : f32[N, 14, 14, 32]
  %a = mul(%v, %b) : f32[N, 14, 14, 32]
  %z = constant {value = 0.0, dtype = f32, shape = [N, 14, 14, 32]} \
: f32[N, 14, 14, 32]
  %t = gt(%a, %z) : bool[N, 14, 14, 32]
  %g = select(%t, %o, %z) : f32[N, 14, 14, 32]
  %h = mul(%g, %v) : f32[N, 14, 14, 32]
  %hs = reduce_sum(%h) {axes = [0, 1, 2]} : f32[32]
  %q = mul(%hs, %r) : f32[32]
  return g = %g, q = %q
}
"""
    source = tmp_path / "scaled.sw"
    source.write_text(text)
    model = sw.compile(source, winograd=False)
    (product,) = [kernel for kernel in model.kernels if kernel.family == "contraction"]
    assert "select" in product.ops
    assert "alloc padded" in str(model.stage("loops-opt", product.name))
