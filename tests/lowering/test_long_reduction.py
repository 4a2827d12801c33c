"""Long sums with few results are done in parts, by as many threads as there are: what NumPy gives
in float64, and the same bits whoever does the parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import stepwell as sw

Array = np.ndarray

# (source, shapes of its inputs, what NumPy makes of them)
CASES: dict[str, tuple[str, list[tuple[int, ...]], Callable[..., Array]]] = {
    "product": (
        "model f(a: f32[15, 20011], b: f32[20011, 33]) -> f32[15, 33] { relu(a @ b) }",
        [(15, 20011), (20011, 33)],
        lambda a, b: np.maximum(a @ b, 0),
    ),
    "gradient of a weight": (
        """model f(a: f32[40, 501, 16], b: f32[40, 501, 24]) -> f32[16, 24] {
             [i, j] -> sum[n, s] a[n, s, i] * b[n, s, j] }""",
        [(40, 501, 16), (40, 501, 24)],
        lambda a, b: np.einsum("nsi,nsj->ij", a, b),
    ),
    "dot product": (
        "model f(a: f32[300001], b: f32[300001]) -> f32[] { sum(a * b) }",
        [(300001,), (300001,)],
        lambda a, b: a @ b,
    ),
    "norm": (
        "model f(a: f32[601, 503]) -> f32[] { sqrt(sum(a * a)) }",
        [(601, 503)],
        lambda a: np.sqrt((a * a).sum()),
    ),
    "columns": (
        "model f(a: f32[9001, 20]) -> f32[20] { sum(a, axis: 0) }",
        [(9001, 20)],
        lambda a: a.sum(0),
    ),
    "maximum": (
        "model f(a: f32[2, 200003]) -> f32[2] { max(a, axis: 1) }",
        [(2, 200003)],
        lambda a: a.max(1),
    ),
    "variances of channels": (
        """model f(x: f32[40, 3, 71, 51]) -> f32[3] {
             let c = x - mean(x, axis: [0, 2, 3], keep: true)
             mean(c * c, axis: [0, 2, 3]) }""",
        [(40, 3, 71, 51)],
        lambda x: x.var((0, 2, 3)),
    ),
    "softmax": (
        "model f(x: f32[200003]) -> f32[200003] { softmax(x) }",
        [(200003,)],
        lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_parts_add_up(case: str) -> None:
    source, shapes, reference = CASES[case]
    arrays = [np.random.default_rng(7).standard_normal(s).astype(np.float32) for s in shapes]
    expected = reference(*(a.astype(np.float64) for a in arrays))
    model = sw.compile(source, threads=1)
    assert "_parts: f32[" in str(model.stage("loops-opt"))
    assert "for task in 0.." in str(model.stage("loops-opt"))
    alone = np.asarray(model(*arrays))
    np.testing.assert_allclose(alone, expected, atol=2e-5 * np.abs(expected).max())
    for threads in (2, 3):
        np.testing.assert_array_equal(np.asarray(model.with_threads(threads)(*arrays)), alone)


def test_not_a_number_comes_through() -> None:
    x = np.zeros(300_000, np.float32)
    x[123_456] = np.nan
    model = sw.compile("model f(x: f32[300000]) -> f32[] { max(x) }")
    assert np.isnan(model(x))


@pytest.mark.parametrize(
    "source",
    [
        "model f(a: f32[512, 512], b: f32[512, 512]) -> f32[512, 512] { a @ b }",
        "model f(a: f32[4096, 1024]) -> f32[4096] { sum(a, axis: 1) }",
        "model f(a: f32[4096, 1024]) -> f32[1024] { sum(a, axis: 0) }",
        "model f(a: f32[1000]) -> f32[] { sum(a) }",
    ],
)
def test_many_results_and_short_sums_are_left_whole(source: str) -> None:
    assert "_parts" not in str(sw.compile(source).stage("loops-opt"))
