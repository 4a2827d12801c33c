"""Attention is one kernel and gives what NumPy gives in float64: any layout of heads, any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import stepwell as sw

Array = np.ndarray

HEADS_FIRST = """
model f(q: f32[N, H, T, 20], k: f32[N, H, U, 20], v: f32[N, H, U, D]) -> f32[N, H, T, D] {
    let score = [n, h, i, j] -> sum[d] q[n, h, i, d] * k[n, h, j, d]
    let p = softmax(score * 0.3)
    [n, h, i, d] -> sum[j] p[n, h, i, j] * v[n, h, j, d]
}
"""
HEADS_LAST = """
use nn
model f(q: f32[N, T, H, 20], k: f32[N, U, H, 20], v: f32[N, U, H, 20]) -> f32[N, T, H, 20] {
    nn.scaled_attention(q, k, v, causal: CAUSAL)
}
"""
MASKED = """
model f(q: f64[T, 6], k: f64[U, 6], v: f64[U, D], m: f64[T, U]) -> f64[D, T] {
    transpose(softmax(q @ transpose(k, [1, 0]) + m) @ v, [1, 0])
}
"""


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def heads_first(q: Array, k: Array, v: Array) -> Array:
    return softmax(0.3 * q @ k.swapaxes(-1, -2)) @ v


def heads_last(q: Array, k: Array, v: Array, causal: bool = False) -> Array:
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    score = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if causal:
        t, u = score.shape[-2:]
        score = np.where(np.tri(t, u, u - t, dtype=bool), score, -np.inf)
    return (softmax(score) @ v).swapaxes(1, 2)


@dataclass(frozen=True)
class Case:
    source: str
    reference: Callable[..., Array]


CASES = {
    "heads_first": Case(HEADS_FIRST, heads_first),
    "heads_last": Case(HEADS_LAST.replace("CAUSAL", "false"), heads_last),
    "causal": Case(
        HEADS_LAST.replace("CAUSAL", "true"), lambda q, k, v: heads_last(q, k, v, causal=True)
    ),
    "masked": Case(MASKED, lambda q, k, v, m: (softmax(q @ k.T + m) @ v).T),
}
SIZES = [(1, 1, 7, 9), (2, 3, 13, 16), (1, 2, 40, 70), (1, 1, 8, 1)]  # N, H, T, U


def inputs(model: sw.Model, sizes: dict[str, int]) -> list[Array]:
    rng = np.random.default_rng(0)
    shapes = [[sizes.get(str(d), d) for d in a.type.shape] for a in model.signature.inputs]
    dtypes = [a.type.dtype.numpy for a in model.signature.inputs]
    return [rng.standard_normal(s).astype(t) for s, t in zip(shapes, dtypes, strict=True)]


@pytest.mark.parametrize("target", [None, "x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("name", CASES)
def test_attention(name: str, target: str | None) -> None:
    case = CASES[name]
    model = sw.compile(case.source, target_cpu=target)
    assert model.kernels[-1].name == "attention"
    assert not any("matmul" in kernel.name for kernel in model.kernels)
    for n, h, t, u in SIZES:
        if name == "causal" and t > u:
            continue
        arrays = inputs(model, {"N": n, "H": h, "T": t, "U": u, "D": 24 if u > 9 else 5})
        expected = case.reference(*(x.astype(np.float64) for x in arrays))
        np.testing.assert_allclose(model(*arrays), expected, rtol=2e-5, atol=2e-6)


def test_every_pass_keeps_attention() -> None:
    source = HEADS_FIRST.replace("T,", "9,").replace("U,", "18,").replace("H,", "2,")
    sw.compile(source.replace("D]", "17]"), check_each_pass=True)


def test_scores_are_never_whole() -> None:
    source = HEADS_FIRST.replace("T,", "256,").replace("U,", "512,")
    model = sw.compile(source)
    assert model.memory.at(N=1, H=1, D=64).planned < 4 * 256 * 512 / 2


def test_infinite_scores_and_nan_stay_in_their_rows() -> None:
    model = sw.compile(MASKED)
    q, k, v, m = inputs(model, {"T": 9, "U": 20, "D": 5})
    m[3, 4:] = -np.inf
    m[5, 2] = np.nan
    expected = (softmax(q @ k.T + m) @ v).T
    assert np.isnan(expected[:, 5]).all()
    np.testing.assert_allclose(model(q, k, v, m), expected, rtol=1e-12)
