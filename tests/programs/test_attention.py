"""Attention is one kernel and gives what NumPy gives in float64: any layout of heads, any size."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import stepwell as sw
from stepwell.ir.dtypes import I64
from stepwell.ir.loop import parse_loops
from stepwell.ir.loop.analysis import expressions_of, map_statements
from stepwell.ir.loop.core import Buffer, If, Kernel, KernelParameter, Statement, Store
from stepwell.ir.loop.interpreter import run_kernel
from stepwell.ir.scalar import Binary, Load, Select, index, walk
from stepwell.lowering.transforms.navigate import find_loop

Array = np.ndarray
Mask = Callable[[int, int], Array]

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
WINDOW = """
model f(q: f32[N, T, H, 20], k: f32[N, U, H, 20], v: f32[N, U, H, D]) -> f32[N, T, H, D] {
    let score = einsum("nihd,njhd->nhij", q, k)
    let ahead = [i: T, j: U] -> i + (U - T) - j
    let seen = ahead >= 0 and not (ahead > 20)
    einsum("nhij,njhd->nihd", softmax(select(seen, score, -1e30)), v)
}
"""
PADDED = """
model f(q: f32[N, T, H, 20], k: f32[N, U, H, 20], length: i64, v: f32[N, U, H, D])
        -> f32[N, T, H, D] {
    let score = einsum("nihd,njhd->nhij", q, k)
    einsum("nhij,njhd->nihd", softmax(select(iota([T, U], axis: 1) < length, score, -1e30)), v)
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


def heads_last(
    q: Array, k: Array, v: Array, mask: Mask | None = None, root: float = 20**0.5
) -> Array:
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    score = q @ k.swapaxes(-1, -2) / root
    if mask is not None:
        score = np.where(mask(*score.shape[-2:]), score, -1e30)
    return (softmax(score) @ v).swapaxes(1, 2)


def causal(t: int, u: int) -> Array:
    return np.tri(t, u, u - t, dtype=bool)


def window(t: int, u: int) -> Array:
    return np.tri(t, u, u - t, dtype=bool) & ~np.tri(t, u, u - t - 21, dtype=bool)


@dataclass(frozen=True)
class Case:
    source: str
    reference: Callable[..., Array]


CASES = {
    "heads_first": Case(HEADS_FIRST, heads_first),
    "heads_last": Case(HEADS_LAST.replace("CAUSAL", "false"), heads_last),
    "causal": Case(
        HEADS_LAST.replace("CAUSAL", "true"), lambda q, k, v: heads_last(q, k, v, causal)
    ),
    "window": Case(WINDOW, lambda q, k, v: heads_last(q, k, v, window, 1)),
    "padded": Case(
        PADDED, lambda q, k, n, v: heads_last(q, k, v, lambda t, u: np.arange(u) < n, 1)
    ),
    "masked": Case(MASKED, lambda q, k, v, m: (softmax(q @ k.T + m) @ v).T),
}
SIZES = [(1, 1, 7, 9), (2, 3, 13, 16), (1, 2, 40, 70), (1, 1, 8, 1), (1, 1, 99, 97)]  # N, H, T, U


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
        arrays = inputs(model, {"N": n, "H": h, "T": t, "U": u, "D": 24 if u > 9 else 5})
        if name == "padded":
            arrays[2] = np.int64(u // 3)
        expected = case.reference(*(x.astype(np.float64) for x in arrays))
        np.testing.assert_allclose(model(*arrays), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["heads_first", "causal", "window", "padded"])
def test_every_pass_keeps_attention(name: str) -> None:
    source = CASES[name].source.replace("T,", "9,").replace("U,", "70,").replace("H,", "2,")
    source = source.replace("U]", "70]").replace("U - T", "61")
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


DECODE = """
model f(q: f32[H, 1, 32], past: f32[H, P, 32], new: f32[H, 1, 32], v: f32[H, P+1, 32])
        -> f32[H, 1, 32] {
    let score = einsum("hid,hjd->hij", q, concat([past, new], axis: 1))
    einsum("hij,hjd->hid", softmax(score), v)
}
"""


@pytest.mark.parametrize("past", ["P", "75"])
def test_one_query_reads_past_keys_as_they_lie(past: str) -> None:
    """The loop over past keys chooses between arrays for no element."""
    model = sw.compile(DECODE.replace("P+1", f"{past}+1").replace("P,", f"{past},"))
    kernels = parse_loops(str(model.stage("loops-opt"))).kernels
    (scores,) = (kernel for kernel in kernels if "concat" in kernel.ops)
    loop = find_loop(scores.body, "column_block")
    assert not any(isinstance(part, Select) for e in expressions_of((loop,)) for part in walk(e))
    for count in (75, 16, 1) if past == "P" else (75,):
        q, old, new, v = inputs(model, {"H": 3, "P": count, "P + 1": count + 1})
        expected = softmax(q @ np.concatenate([old, new], 1).swapaxes(1, 2)) @ v
        np.testing.assert_allclose(model(q, old, new, v), expected, rtol=1e-5, atol=1e-6)


def test_causal_attention_is_pytorchs() -> None:
    model = sw.compile(CASES["causal"].source)
    arrays = inputs(model, {"N": 2, "T": 77, "U": 77, "H": 3})
    q, k, v = (torch.from_numpy(x).transpose(1, 2) for x in arrays)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(model(*arrays), expected.transpose(1, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 3])
def test_threads_share_causal_attention_to_the_same_bits(heads: int) -> None:
    sizes = {"N": 1, "T": 320, "U": 320, "H": heads}
    models = [sw.compile(CASES["causal"].source, threads=threads) for threads in (1, 2)]
    assert "parallel" in str(models[0].stage("loops-opt"))
    arrays = inputs(models[0], sizes)
    np.testing.assert_array_equal(*(model(*arrays) for model in models))


@pytest.mark.parametrize(
    ("name", "least", "most"), [("causal", 0.5, 0.6), ("window", 0.1, 0.25), ("padded", 0.3, 0.4)]
)
def test_hidden_tiles_are_not_computed(name: str, least: float, most: float) -> None:
    """Of the blocks of columns in the loops over scores, softmax and mix, those with hidden
    elements alone are passed over: counted in the interpreter."""
    source = CASES[name].source.replace("D]", "32]").replace("20]", "32]").replace("U - T", "0")
    for size, number in {"N": 1, "H": 1, "T": 256, "U": 256}.items():
        source = re.sub(rf"\b{size}(?=[,\]])", str(number), source)
    model = sw.compile(source, target_cpu="x86-64-v4")
    *_, kernel = parse_loops(str(model.stage("loops-opt"))).kernels
    counted, blocks = _counting(kernel)
    arrays = inputs(model, {})
    if name == "padded":
        arrays[2] = np.array(80)
    counts = np.zeros((len(blocks), 2), np.int64)
    out = np.empty((1, 256, 1, 32), np.float32)
    names = [p.buffer.name for p in counted.parameters]
    run_kernel(counted, {"tasks": 1}, dict(zip(names, [*arrays, out, counts], strict=True)))
    assert len(blocks) >= 4
    done = counts[:, 0] / counts[:, 1]
    assert ((least <= done) & (done <= most)).all()
    np.testing.assert_allclose(out, model(*arrays), rtol=1e-4, atol=1e-5)


def _counting(kernel: Kernel) -> tuple[Kernel, list[If]]:
    """The kernel that counts how often each block is met, and how often it is done."""
    counts, blocks = Buffer("counts", I64, (16, 2)), []

    def plus_one(number: int, column: int) -> Store:
        place = (index(number), index(column))
        return Store("counts", place, Binary("add", Load("counts", place, I64), index(1)))

    def count(statement: Statement) -> Statement | tuple[Statement, ...]:
        if not isinstance(statement, If):
            return statement
        blocks.append(statement)
        done = replace(statement, then=(plus_one(len(blocks) - 1, 0), *statement.then))
        return (plus_one(len(blocks) - 1, 1), done)

    body = map_statements(kernel.body, count)
    counts = replace(counts, shape=(len(blocks), 2))
    parameters = (*kernel.parameters, KernelParameter(counts, "inout"))
    return replace(kernel, parameters=parameters, body=body), blocks
