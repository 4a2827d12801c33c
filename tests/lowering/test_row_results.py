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
