"""Maxima and minima carry NaN from wherever it stands, and know infinities, for each width of
vectors: partial results hold numbers alone, with NaN beside them."""

from __future__ import annotations

import numpy as np
import pytest

import stepwell as sw

SOURCE = """
model extrema(x: f32[R, 83]) -> (rows_max: f32[R], rows_min: f32[R], max: f32[83], min: f32[83]) {
    (max(x, axis: -1), min(x, axis: -1), max(x, axis: 0), min(x, axis: 0))
}
model shares(x: f32[R, 83]) -> f32[R, 83] { softmax(x) }
"""
TARGETS = ("native", "x86-64-v3", "x86-64-v2")


def hard_rows() -> np.ndarray:
    """Row k has NaN in place k; then rows of infinities, with and without NaN, and of zeros."""
    x = np.random.default_rng(0).standard_normal((83 + 6, 83)).astype(np.float32)
    x[np.arange(83), np.arange(83)] = np.nan
    x[83:86] = np.float32([[-np.inf], [np.inf], [-0.0]])
    x[86, 40], x[87, 17], x[88, [3, 81]] = np.inf, -np.inf, [np.inf, np.nan]
    return x


@pytest.mark.parametrize("target", TARGETS)
def test_extrema(target: str) -> None:
    x = hard_rows()
    extrema = sw.compile(SOURCE, "extrema", target_cpu=target)
    for rows in (x, x[83:88], x[86:87]):
        results = extrema(rows)
        expected = [rows.max(1), rows.min(1), rows.max(0), rows.min(0)]
        for result, right in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, right)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_softmax(target: str) -> None:
    x = hard_rows()
    e = np.exp(x - x.max(1, keepdims=True))
    shares = sw.compile(SOURCE, "shares", target_cpu=target)(x)
    np.testing.assert_allclose(shares, e / e.sum(1, keepdims=True), rtol=1e-5)
