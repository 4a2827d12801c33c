"""Few rows times a constant matrix whose columns lie far apart: it is packed once."""

from __future__ import annotations

import numpy as np
import pytest

import stepwell as sw

SOURCE = """
model few(x: f32[{rows}, {depth}]) -> f32[{rows}, {columns}] {{
    param w: {dtype}[{columns}, {depth}] = zeros
    param b: f32[{columns}] = zeros
    tanh(x @ transpose(cast(w, f32), [1, 0]) + b)
}}
"""


@pytest.mark.parametrize("target", ["native", "x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_times_a_constant_matrix(rows: int, dtype: str, target: str) -> None:
    random = np.random.default_rng(rows)
    for columns, depth in ((10, 64), (77, 43), (256, 300)):
        source = SOURCE.format(rows=rows, columns=columns, depth=depth, dtype=dtype)
        x = random.standard_normal((rows, depth)).astype(np.float32)
        w = (random.standard_normal((columns, depth)) / 8).astype(f"float{dtype[1:]}")
        b = random.standard_normal(columns).astype(np.float32)
        expected = np.tanh(x.astype(np.float64) @ w.T.astype(np.float64) + b)
        found = [
            sw.compile(source, weights={"w": w, "b": b}, threads=n, target_cpu=target)
            for n in (1, 2)
        ]
        assert "panels" in found[0].stage("loops-opt")
        results = [model(x) for model in found]
        np.testing.assert_allclose(results[0], expected, atol=1e-5)
        np.testing.assert_array_equal(*results)
