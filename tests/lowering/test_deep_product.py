"""Products over as many terms as a batch has: in blocks, as NumPy gives them in float64, for a
batch that fills no block, or blocks and more; the same bits with any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import stepwell as sw

DTYPES = {"f32": 1e-6, "f64": 1e-14}


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_add_up(dtype: str) -> None:
    model = sw.compile(
        f"""model f(a: {dtype}[N, 160, 45], b: {dtype}[N, 160, 70], c: {dtype}[45, 70])
              -> {dtype}[45, 70] {{
             let product = [i, j] -> sum[n, t] a[n, t, i] * b[n, t, j]
             c - product / 8 }}""",
        threads=1, check_each_pass=dtype == "f64",
    )  # fmt: skip
    assert "_sums: " in str(model.stage("loops-opt"))
    rng = np.random.default_rng(3)
    for batch in (0, 1, 3, 10, 13):
        a, b, c = (rng.standard_normal(s) for s in ((batch, 160, 45), (batch, 160, 70), (45, 70)))
        given = [x.astype(dtype.replace("f", "float")) for x in (a, b, c)]
        expected = c - np.einsum("nti,ntj->ij", a, b) / 8
        alone = np.asarray(model(*given))
        np.testing.assert_allclose(alone, expected, atol=DTYPES[dtype] * (40 + 160 * batch))
        for threads in (2, 3):
            np.testing.assert_array_equal(np.asarray(model.with_threads(threads)(*given)), alone)


@pytest.mark.parametrize(
    "source",
    [
        # as many terms as samples; a row of one factor for each result; many results
        "model f(a: f32[N, 40], b: f32[N, 70]) -> f32[40, 70] { transpose(a, [1, 0]) @ b }",
        "model f(a: f32[40, 8192], b: f32[8192, 70]) -> f32[40, 70] { a @ b }",
        """model f(a: f32[N, 128, 4096], b: f32[N, 128, 4096]) -> f32[4096, 4096] {
             [i, j] -> sum[n, t] a[n, t, i] * b[n, t, j] }""",
    ],
)
def test_others_are_not_in_blocks(source: str) -> None:
    assert "_sums: " not in str(sw.compile(source).stage("loops-opt"))
