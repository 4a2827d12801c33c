"""Small whole models of every kind, at many sizes, against references in float64.

Each case is a model, sizes to call it with, and its reference: a function of the inputs and the
parameters, all in float64 where they are floats, written with NumPy or PyTorch. Inputs and
parameters are drawn for the model's own signature.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch.nn import functional

import stepwell as sw
from stepwell.ir.diagnostics import InputError
from stepwell.ir.size import evaluate

Array = Any
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Case:
    """A model, the sizes of its calls, and what it computes."""

    source: str
    reference: Callable[..., Any]
    sizes: Sequence[Sizes] = ({},)
    high: Mapping[str, int | str] = field(default_factory=dict)  # of integer inputs: or a size
    tolerance: float = 2e-5


def _n(*values: int) -> list[Sizes]:
    return [{"N": value} for value in values]


def _grid(*rows: Sequence[int], names: str = "NM") -> list[Sizes]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def _drawn(shape: Sequence[int], dtype: np.dtype, high: int, rng: np.random.Generator) -> Array:
    if dtype == np.bool_:
        return rng.random(shape) < 0.4
    if dtype.kind in "iu":
        return rng.integers(0, max(high, 1), shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _wide(value: Array) -> Array:
    """A float array as float64, others as they are."""
    is_float = value.dtype.kind == "f" or value.dtype == ml_dtypes.bfloat16
    return value.astype(np.float64) if is_float else value


def _weights(model: sw.Model) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    drawn = {}
    for path, value in model.parameters.items():
        scale = 1 / max(1, np.prod(value.shape[1:])) ** 0.5 if value.ndim > 1 else 1.0
        values = rng.standard_normal(value.shape) * scale
        if path.endswith("variance"):
            values = np.abs(values) + 0.5
        drawn[path] = values.astype(value.dtype)
    return drawn


def check(case: Case, target: str | None = None, checking: bool = False) -> None:
    """Compile the case and compare it with its reference at all its sizes."""
    first = sw.compile(case.source, target_cpu=target, check_each_pass=checking)
    model, weights = first, _weights(first)
    if weights:
        model = sw.compile(case.source, target_cpu=target, weights=weights)
    wide = {path: _wide(value) for path, value in weights.items()}
    rng = np.random.default_rng(zlib.crc32(case.source.encode()))
    for sizes in case.sizes:
        memory = model.memory.at(**sizes)
        assert memory.planned <= memory.naive, sizes
        inputs = []
        for argument in model.signature.inputs:
            shape = [evaluate(dim, sizes) for dim in argument.type.shape]
            high = case.high.get(argument.name, 5)
            limit = sizes[high] if isinstance(high, str) else high
            inputs.append(_drawn(shape, argument.type.dtype.numpy, limit, rng))
        results = model(*inputs)
        args = [_wide(value) for value in inputs]
        expected = case.reference(*args, wide) if weights else case.reference(*args)
        _compare(case, sizes, results, expected)


def _compare(case: Case, sizes: Sizes, results: Any, expected: Any) -> None:
    if not isinstance(expected, tuple):
        results, expected = (results,), (expected,)
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        wanted = np.asarray(wanted)
        assert result.shape == wanted.shape, (sizes, result.shape, wanted.shape)
        if result.dtype.kind in "iub":
            np.testing.assert_array_equal(result, wanted, err_msg=str(sizes))
            continue
        t = case.tolerance
        np.testing.assert_allclose(
            result.astype(np.float64), wanted, rtol=t, atol=t, err_msg=str(sizes)
        )


# ---------------------------------------------------------------------- references


def _t(value: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(value))


def _softmax(x: Array, axis: Any = -1) -> Array:
    if x.size == 0:
        return x
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _conv2d(p: Mapping[str, Array], name: str, x: torch.Tensor, **options: Any) -> torch.Tensor:
    bias = _t(p[f"{name}.bias"]) if f"{name}.bias" in p else None
    return functional.conv2d(x, _t(p[f"{name}.weight"]), bias, **options)


def _norm(x: Array, axis: Any = -1) -> Array:
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)


def _rms_norm(x: Array, scale: Array) -> Array:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale


def _batch_norm(x: Array, p: Mapping[str, Array], name: str) -> Array:
    mean, variance, scale, shift = (
        p[f"{name}.{part}"][:, None]
        for part in ("running_mean", "running_variance", "scale", "shift")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def _reshaped(x: Array, w: Array) -> Array:
    z = np.maximum(x.transpose(1, 0, 2) @ w, 0).transpose(2, 0, 1)
    return (z - z.mean(0)).reshape(8 * x.shape[1], len(x))


def _unet(x: Array, p: Mapping[str, Array]) -> Array:
    a = _conv2d(p, "a", _t(x), padding=1).relu()
    b = _conv2d(p, "b", functional.max_pool2d(a, 2), padding=1).relu()
    up = functional.conv_transpose2d(b, _t(p["up.weight"]), _t(p["up.bias"]), stride=2)
    c = _conv2d(p, "c", torch.cat([a, up], 1), padding=1).relu()
    return _conv2d(p, "d", c).numpy()


def _convs(x: Array, p: Mapping[str, Array]) -> Array:
    y = _conv2d(p, "a", _t(x), groups=4, padding=1).relu()
    y = _conv2d(p, "b", y, dilation=2, padding=2)
    return _conv2d(p, "c", y, groups=8, stride=2, padding=1).numpy()


def _conv1d(p: Mapping[str, Array], name: str, x: torch.Tensor, **options: Any) -> torch.Tensor:
    return functional.conv1d(x, _t(p[f"{name}.weight"]), _t(p[f"{name}.bias"]), **options)


def _wavenet(x: Array, p: Mapping[str, Array]) -> Array:
    h = _t(x)
    for i in range(4):
        y = _conv1d(p, f"conv1d.{i}", functional.pad(h, (2**i * 2, 0)), dilation=2**i)
        h = h + y.tanh() * torch.sigmoid(y)
    return h.numpy()


def _attention(x: Array, p: Mapping[str, Array], heads: int = 4, causal: bool = True) -> Array:
    n, t, d = x.shape
    q, k, v = (
        (x @ p[f"multi_head_attention.w{c}"] + p[f"multi_head_attention.b{c}"]).reshape(
            n, t, heads, d // heads
        )
        for c in "qkv"
    )
    score = np.einsum("nihd,njhd->nhij", q, k) / np.sqrt(d // heads)
    if causal:
        score = np.where(np.tri(t, dtype=bool), score, -1e30)
    y = np.einsum("nhij,njhd->nihd", _softmax(score), v).reshape(n, t, d)
    return y @ p["multi_head_attention.wo"] + p["multi_head_attention.bo"]


def _heads(q: Array, k: Array, v: Array, heads: int, t: int) -> Array:
    n, _, d = q.shape
    q, k, v = (z.reshape(n, z.shape[1], heads, d // heads) for z in (q, k, v))
    score = np.einsum("nihd,njhd->nhij", q, k)
    return np.einsum("nhij,njhd->nihd", _softmax(score), v).reshape(n, t, d)


def _group_norm(x: Array, p: Mapping[str, Array]) -> Array:
    scale, shift = _t(p["group_norm.scale"]), _t(p["group_norm.shift"])
    return functional.group_norm(_t(x), 2, scale, shift).numpy()


def _cross_entropy(x: Array, label: Array) -> Array:
    shifted = x - x.max(1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return (log, -np.mean(log[np.arange(len(x)), label]))


def _positions(ids: Array, p: Mapping[str, Array]) -> Array:
    h = p["embedding.weight"][ids] + p["position"][: ids.shape[1]]
    return _norm(h) * p["layer_norm.scale"] + p["layer_norm.shift"]


def _image(x: Array, w: Array) -> Array:
    y = (x.astype(np.float64) / 255 - 0.5) / 0.25
    return functional.conv2d(_t(y).permute(0, 3, 1, 2), _t(w), stride=2, padding=1).numpy()


def _stack(x: Array, p: Mapping[str, Array]) -> Array:
    for i in range(12):
        h = np.maximum(x @ p[f"dense.{i}.weight"] + p[f"dense.{i}.bias"], 0)
        x = x + h
    return x


def _chain(x: Array) -> Array:
    for _ in range(50):
        x = np.tanh(x * 1.01 + 0.1) - np.abs(x) * 0.1
    return x


def _nearest(x: Array, c: Array) -> Array:
    return ((x[:, None] - c[None]) ** 2).sum(-1).argmin(1)


def _depthwise(x: Array, w: Array) -> Array:
    return functional.conv2d(_t(x), _t(w), padding=1, groups=x.shape[1]).numpy()


def _nonsquare(x: Array, w: Array) -> Array:
    return functional.conv2d(_t(x), _t(w)).numpy()


# ---------------------------------------------------------------------- the models

SIZES = _n(0, 1, 7, 16, 17)

CASES: dict[str, Case] = {
    "unet": Case(
        """use nn
        model f(x: f32[N, 2, 8, 12]) -> f32[N, 3, 8, 12] {
            let a = nn.conv2d(x, channels: 4, kernel: 3, padding: 1) |> relu
            let b = nn.conv2d(nn.max_pool2d(a, 2), channels: 6, kernel: 3, padding: 1) |> relu
            let up = nn.conv_transpose2d(b, channels: 4, kernel: 2, stride: 2)
            let c = nn.conv2d(concat([a, up], axis: 1), channels: 5, kernel: 3, padding: 1) |> relu
            let d = nn.conv2d(c, channels: 3, kernel: 1)
            d
        }""",
        _unet,
        _n(0, 1, 3),
    ),
    "grouped and dilated": Case(
        """use nn
        model f(x: f32[N, 8, H, W]) {
            let a = nn.conv2d(x, channels: 8, kernel: 3, padding: 1, groups: 4) |> relu
            let b = nn.conv2d(a, channels: 16, kernel: 3, padding: 2, dilation: 2)
            let c = nn.conv2d(b, channels: 16, kernel: 3, padding: 1, stride: 2, groups: 8)
            c
        }""",
        _convs,
        _grid((1, 1, 1), (2, 7, 5), (1, 16, 17), names="NHW"),
    ),
    "wavenet": Case(
        """use nn
        model f(x: f32[N, 6, T]) -> f32[N, 6, T] {
            let h = x
            repeat 4 as i {
                let y = nn.conv1d(pad(h, [0, 0, 2**i * 2], [0, 0, 0]), channels: 6, kernel: 3,
                    dilation: 2**i, name: "conv1d")
                h = h + tanh(y) * sigmoid(y)
            }
            h
        }""",
        _wavenet,
        _grid((1, 1), (2, 7), (1, 16), (3, 17), names="NT"),
    ),
    "causal attention": Case(
        """use nn
        model f(x: f32[N, T, 16]) -> f32[N, T, 16] {
            nn.multi_head_attention(x, heads: 4, causal: true)
        }""",
        _attention,
        _grid((0, 3), (1, 1), (2, 7), (1, 16), (2, 17), (3, 0), names="NT"),
    ),
    "attention in f64": Case(
        """use nn
        model f(q: f64[N, T, 12], k: f64[N, U, 12], v: f64[N, U, 12]) -> f64[N, T, 12] {
            let m = nn.scaled_attention(reshape(q * 2, [N, T, 3, 4]), reshape(k, [N, U, 3, 4]),
                reshape(v, [N, U, 3, 4]))
            reshape(m, [N, T, 12])
        }""",
        lambda q, k, v: _heads(q, k, v, 3, q.shape[1]),
        _grid((1, 1, 1), (2, 7, 3), (1, 16, 17), (1, 17, 40), names="NTU"),
        tolerance=1e-12,
    ),
    "heads of symbolic width": Case(
        """model f(q: f32[N, T, D], k: f32[N, T, D], v: f32[N, T, D]) -> f32[N, T, D] {
            let a = reshape(q, [N, T, 4, D/4])
            let b = reshape(k, [N, T, 4, D/4])
            let c = reshape(v, [N, T, 4, D/4])
            let s = softmax(einsum("nihd,njhd->nhij", a, b))
            reshape(einsum("nhij,njhd->nihd", s, c), [N, T, D])
        }""",
        lambda q, k, v: _heads(q, k, v, 4, q.shape[1]),
        _grid((1, 1, 4), (2, 7, 8), (1, 17, 64), (0, 2, 8), (2, 0, 8), names="NTD"),
    ),
    "bf16 weights": Case(
        """model f(x: f32[N, 24]) -> f32[N, 9] {
            param w: bf16[24, 33] = glorot_uniform
            param v: bf16[33, 9] = glorot_uniform
            relu(x @ cast(w, f32)) @ cast(v, f32)
        }""",
        lambda x, p: np.maximum(x @ p["w"], 0) @ p["v"],
        SIZES,
    ),
    "f16 throughout": Case(
        """model f(x: f16[N, 24], w: f16[24, 33]) -> f16[N, 33] { softmax(relu(x @ w)) }""",
        lambda x, w: _softmax(np.maximum(x @ w, 0)),
        SIZES,
        tolerance=2e-2,
    ),
    "bf16 products": Case(
        """model f(x: bf16[N, K], w: bf16[K, M]) -> bf16[N, M] { x @ w }""",
        lambda x, w: x @ w,
        _grid((1, 1, 1), (7, 16, 17), (17, 33, 40), (3, 0, 2), names="NKM"),
        tolerance=1e-2,
    ),
    "f16 and bf16 in index notation": Case(
        """model f(x: f16[N, M], y: bf16[N]) -> (f16[N], f16[N, M], f16[M, M], bf16[N, 2]) {
            ([n] -> sum[m] x[n, m] * x[n, m],
             [n, m: M] -> sum[k: M where k <= m] max(x[n, k], 0.5) * 0.1,
             [i, j] -> sum[n] x[n, i] * x[n, j],
             [n, k: 2] -> y[n] * y[n] + y[0] - cast(cast(y[n], f16), bf16))
        }""",
        lambda x, y: (
            (x * x).sum(1),
            np.maximum(x, 0.5).cumsum(1) * 0.1,
            x.T @ x,
            np.stack([y * (y - 1) + y[:1]] * 2, 1),
        ),
        _grid((1, 1), (7, 5), (16, 33), (17, 70)),
        tolerance=2e-2,
    ),
    "group norm": Case(
        """use nn
        model f(x: f32[N, 6, H, W]) -> f32[N, 6, H, W] { nn.group_norm(x, groups: 2) }""",
        _group_norm,
        _grid((1, 1, 2), (2, 7, 5), (1, 16, 17), names="NHW"),
    ),
    "rms norm": Case(
        """use nn
        model f(x: f32[N, T, 20]) -> f32[N, T, 20] {
            nn.rms_norm(nn.rms_norm(x, name: "a") + x, name: "b")
        }""",
        lambda x, p: _rms_norm(_rms_norm(x, p["a.scale"]) + x, p["b.scale"]),
        _grid((1, 1), (2, 7), (0, 2), names="NT"),
    ),
    "batch norms": Case(
        """use nn
        model f(x: f32[N, 5, H]) -> f32[N, 5, H] {
            let a = nn.batch_norm(x)
            let b = nn.batch_norm(relu(a))
            b - x
        }""",
        lambda x, p: _batch_norm(np.maximum(_batch_norm(x, p, "a"), 0), p, "b") - x,
        _grid((1, 1), (2, 7), (3, 17), names="NH"),
    ),
    "softmax over a middle axis": Case(
        "model f(x: f32[N, T, M]) -> f32[N, T, M] { softmax(x, axis: 1) }",
        lambda x: _softmax(x, 1),
        _grid((1, 1, 1), (2, 7, 5), (2, 16, 17), (3, 17, 33), (0, 3, 2), (2, 3, 0), names="NTM"),
    ),
    "softmax over two axes": Case(
        """model f(x: f32[N, H, W]) -> f32[N, H, W] {
            let e = exp(x - max(x, axis: [1, 2], keep: true))
            e / sum(e, axis: [1, 2], keep: true)
        }""",
        lambda x: _softmax(x, (1, 2)),
        _grid((1, 1, 1), (2, 7, 5), (2, 16, 17), names="NHW"),
    ),
    "softmax over outer axes": Case(
        """model f(x: f32[H, N, W]) -> f32[H, N, W] {
            let e = exp(x - max(x, axis: [0, 2], keep: true))
            e / sum(e, axis: [0, 2], keep: true)
        }""",
        lambda x: _softmax(x, (0, 2)),
        _grid((1, 1, 1), (7, 2, 5), (16, 3, 17), names="HNW"),
    ),
    "log softmax and its loss": Case(
        """model f(x: f32[N, K], label: i32[N]) -> (f32[N, K], f32) {
            (log_softmax(x), cross_entropy(x, label))
        }""",
        _cross_entropy,
        _grid((1, 1), (7, 5), (17, 40), names="NK"),
        {"label": "K"},
    ),
    "embedding with positions": Case(
        """use nn
        model f(ids: i32[N, T]) -> f32[N, T, 12] {
            param position: f32[32, 12] = normal(0.1)
            let h = nn.embedding(ids, count: 9, width: 12, name: "embedding") + position[0:T]
            nn.layer_norm(h)
        }""",
        _positions,
        _grid((0, 3), (1, 1), (2, 7), (3, 32), names="NT"),
        {"ids": 9},
    ),
    "gathers": Case(
        """model f(x: f32[N, D], i: i64[M], j: i32[M, K]) -> (f32[M, D], f32[M, K, D], f32[M]) {
            let a = x[i]
            let b = gather(x, j, axis: 0)
            (a * 2, b - unsqueeze(a, 1), [m] -> sum[k] x[j[m, k], 0] * x[i[m], D - 1])
        }""",
        lambda x, i, j: (
            x[i] * 2,
            x[j] - x[i][:, None],
            (x[j][:, :, 0] * x[i][:, None, -1]).sum(1),
        ),
        _grid((1, 1, 1, 1), (5, 7, 3, 2), (16, 17, 16, 9), names="NDMK"),
        {"i": "N", "j": "N"},
    ),
    "nearest neighbours": Case(
        """model f(x: f32[N, D], c: f32[M, D]) -> i64[N] {
            [n] -> argmin[k] sum[d] (x[n, d] - c[k, d]) ** 2
        }""",
        _nearest,
        _grid((1, 1, 1), (7, 16, 3), (17, 5, 40), (0, 3, 4), names="NMD"),
    ),
    "images of bytes": Case(
        """model f(x: u8[N, H, W, 3], w: f32[8, 3, 3, 3]) {
            let y = (cast(x, f32) * (1/255) - 0.5) / 0.25
            conv(transpose(y, [0, 3, 1, 2]), w, 2, 1)
        }""",
        _image,
        _grid((1, 1, 1), (2, 7, 5), (1, 16, 17), names="NHW"),
        {"x": 256},
    ),
    "masks": Case(
        """model f(x: f32[N, M], keep: bool[N, M]) -> (bool[N], bool[M], bool, f32[N], i64[N]) {
            let ok = keep and x > 0
            (any(ok, axis: 1), all(keep, axis: 0), any(ok), sum(select(ok, x, 0), axis: 1),
             sum(cast(keep, i64), axis: 1))
        }""",
        lambda x, k: (
            (k & (x > 0)).any(1),
            k.all(0),
            (k & (x > 0)).any(),
            np.where(k & (x > 0), x, 0).sum(1),
            k.sum(1),
        ),
        _grid((1, 1), (7, 16), (16, 17), (17, 65), (0, 3), (3, 0)),
    ),
    "arg-reductions": Case(
        """model f(x: f32[N, M, K]) -> (i64[M, K], i64[N, K], i64[N, M]) {
            (argmax(x, axis: 0), argmin(x, axis: 1), argmax(x, axis: 2))
        }""",
        lambda x: (x.argmax(0), x.argmin(1), x.argmax(2)),
        _grid((1, 1, 1), (7, 5, 3), (16, 17, 33), names="NMK"),
    ),
    "arg-reductions of bytes": Case(
        """model f(x: u8[N, M]) -> (i64[M], i64[N], i64) {
            (argmax(x, axis: 0), argmin(x, axis: 1), argmax(reshape(x, [-1])))
        }""",
        lambda x: (x.argmax(0), x.argmin(1), x.argmax()),
        _grid((1, 1), (7, 5), (16, 33), (17, 70)),
    ),
    "cumulative with a guard": Case(
        """model f(x: f32[N, T]) -> (f32[N, T], f32[N, T], f32[N, T]) {
            ([n, t: T] -> sum[k: T where k <= t] x[n, k], cumsum(x, axis: 1),
             [n, t: T] -> max[k: T where k <= t and k >= t - 2] x[n, k])
        }""",
        lambda x: (
            x.cumsum(1),
            x.cumsum(1),
            np.stack([x[:, max(0, t - 2) : t + 1].max(1) for t in range(x.shape[1])], 1)
            if x.shape[1]
            else x,
        ),
        _grid((1, 1), (7, 5), (16, 33), (3, 0), (0, 4), names="NT"),
    ),
    "running reductions": Case(
        """model f(x: f32[N, T], w: f32[T]) -> (f32[N, T], f32[N, T], f32[N, T], f32[N, T]) {
            (cumsum(x, axis: 0) + x, cumsum(exp(x), axis: 1) * 2,
             [n, t: T] -> max[k: T where k <= t] x[n, k],
             [n, t: T] -> sum[k: T where k <= t] x[n, k] * w[k])
        }""",
        lambda x, w: (
            x.cumsum(0) + x,
            np.exp(x).cumsum(1) * 2,
            np.maximum.accumulate(x, 1),
            (x * w).cumsum(1),
        ),
        _grid((1, 1), (7, 5), (16, 33), (33, 16), (3, 0), (0, 4), names="NT"),
        tolerance=1e-4,
    ),
    "triangular product": Case(
        "model f(a: f32[N, K], b: f32[K, M]) -> f32[N, M] {\n"
        "    [i, j] -> sum[k where k <= i] a[i, k] * b[k, j]\n}",
        lambda a, b: np.where(np.arange(a.shape[1]) <= np.arange(len(a))[:, None], a, 0) @ b,
        _grid((1, 1, 1), (5, 7, 9), (17, 17, 40), names="NKM"),
    ),
    "masked product": Case(
        """model f(a: f32[N, K], b: f32[K, M], c: bool[N, K]) -> f32[N, M] {
            [i, j] -> sum[k] select(c[i, k], a[i, k] * b[k, j], 0)
        }""",
        lambda a, b, c: np.where(c, a, 0) @ b,
        _grid((1, 1, 1), (5, 7, 9), (17, 17, 40), names="NKM"),
    ),
    "results that are inputs": Case(
        """model f(x: f32[N], unused: f32[M]) -> (f32[N], f32[N], f32[N], f32[4], f32) {
            param w: f32[4] = ones
            param never: f32[3, N_] = ones
            let y = x + 1
            (x, y, y, w, sum(w))
        }""".replace("[3, N_]", "[3, 3]"),
        lambda x, _, p: (x, x + 1, x + 1, p["w"], p["w"].sum()),
        _grid((0, 1), (7, 0), (17, 3)),
    ),
    "scalars": Case(
        """model f(x: f32, y: f32[N], n: i64) -> (f32, f32[N], i64, f32, bool) {
            (x * 2, y * x, n + N, mean(y + x), x > 0)
        }""",
        lambda x, y, n: (x * 2, y * x, n + len(y), np.mean(y + x), x > 0),
        _n(1, 7, 16, 17),
    ),
    "twelve equal layers": Case(
        """use nn
        model f(x: f32[N, 16]) -> f32[N, 16] {
            let h = x
            repeat 12 { h = h + relu(nn.dense(h, units: 16)) }
            h
        }""",
        _stack,
        SIZES,
        tolerance=1e-4,
    ),
    "deep chain": Case(
        """model f(x: f32[N]) -> f32[N] {
            let h = x
            repeat 50 { h = tanh(h * 1.01 + 0.1) - abs(h) * 0.1 }
            h
        }""",
        _chain,
        SIZES,
        tolerance=1e-4,
    ),
    "long formula": Case(
        f"model f(x: f32[N]) -> f32[N] {{ [i] -> {' + '.join(['x[i] * 0.5'] * 230)} }}",
        lambda x: 115 * x,
        SIZES,
    ),
    "wide fan-out": Case(
        """model f(x: f32[N, M]) -> f32[M] {
            let e = exp(x)
            let h = sum(e, axis: 0)
            repeat 50 as i { h = h + max(cumsum(e + i, axis: 0), axis: 0) }
            h
        }""",
        lambda x: np.exp(x).sum(0) + sum(np.cumsum(np.exp(x) + i, 0).max(0) for i in range(50)),
        _grid((1, 1), (7, 16), (17, 5)),
    ),
    "long rows": Case(
        """use nn
        model f(x: f32[N, M]) -> (f32[N, M], f32[N], f32[N], f32[N]) {
            (softmax(x), mean(x, axis: 1), variance(x, axis: 1), max(x, axis: 1))
        }""",
        lambda x: (_softmax(x), x.mean(1), x.var(1), x.max(1)),
        _grid((1, 10007), (3, 1009), (2, 257), (1, 1)),
    ),
    "every small product": Case(
        "model f(a: f32[N, K], b: f32[K, M]) -> f32[N, M] { a @ b }",
        lambda a, b: a @ b,
        [
            {"N": n, "K": k, "M": m}
            for n in range(1, 21)
            for m in range(1, 21)
            for k in (1, 2, 3, 5, 8, 16, 17, 20)
        ],
    ),
    "products with one fixed side": Case(
        """model f(a: f32[N, 3], b: f32[3, 5], c: f32[5, M]) -> (f32[N, 5], f32[N, M], f32[5, 5]) {
            let y = a @ b
            (y, y @ c, transpose(y, [1, 0]) @ y)
        }""",
        lambda a, b, c: (a @ b, a @ b @ c, (a @ b).T @ (a @ b)),
        _grid((1, 1), (7, 16), (17, 5), (0, 3), (3, 0)),
    ),
    "7x7 with stride 3": Case(
        "model f(x: f32[N, 3, H, W], w: f32[10, 3, 7, 7], v: f32[4, 10, 1, 1]) {\n"
        "    conv(conv(x, w, 3, 3), v, 2)\n}",
        lambda x, w, v: functional.conv2d(
            functional.conv2d(_t(x), _t(w), stride=3, padding=3), _t(v), stride=2
        ).numpy(),
        _grid((1, 1, 1), (2, 7, 16), (1, 17, 20), names="NHW"),
    ),
    "depthwise with a multiplier": Case(
        "model f(x: f32[N, 6, H, W], w: f32[12, 1, 3, 3]) { conv(x, w, 1, 1, 1, 6) }",
        _depthwise,
        _grid((1, 1, 1), (2, 7, 16), (1, 17, 5), (0, 4, 4), names="NHW"),
    ),
    "kernels that are not square": Case(
        """model f(x: f32[N, C, H, W], w: f32[O, C, 2, 5]) -> f32[N, O, H - 1, W - 4] {
            [n, o, i, j] -> sum[c, p: 2, q: 5] x[n, c, i + p, j + q] * w[o, c, p, q]
        }""",
        _nonsquare,
        _grid((1, 1, 2, 5, 1), (2, 3, 7, 16, 5), (1, 4, 5, 21, 16), names="NCHWO"),
    ),
    "shapes between everything": Case(
        """model f(x: f32[N, T, 6], w: f32[6, 8]) -> f32[8*T, N] {
            let y = reshape(transpose(x, [1, 0, 2]), [T*N, 6]) @ w
            let z = transpose(reshape(relu(y), [T, N, 8]), [2, 0, 1])
            reshape(z - mean(z, axis: 0, keep: true), [8*T, N])
        }""",
        _reshaped,
        _grid((1, 1), (7, 5), (16, 17), (0, 3), (3, 0), names="NT"),
    ),
}


@pytest.mark.parametrize("bad", [-1, 9, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("count", [1, 17, 40])
def test_a_subscript_outside_its_axis(count: int, bad: int) -> None:
    model = sw.compile("model f(x: f32[V, D], i: i32[N]) -> f32[N, D] { exp(x[i]) }")
    ids = np.zeros(count, np.int32)
    ids[-1] = bad
    with pytest.raises(InputError, match="an index is outside its axis of size V"):
        model(np.ones((9, 20), np.float32), ids)


def test_cumulative_sums_take_one_pass() -> None:
    """A million elements, and in a hundredth of the 50 s that N² additions take."""
    model = sw.compile("model f(x: f32[N]) -> f32[N] { cumsum(x, axis: 0) }")
    x = np.random.default_rng(0).random(10**6, dtype=np.float32)
    started = time.perf_counter()
    result = model(x)
    assert time.perf_counter() - started < 0.5
    np.testing.assert_allclose(result, np.cumsum(x, dtype=np.float64), rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_every_pass(name: str) -> None:
    check(CASES[name], checking=True)


@pytest.mark.parametrize("target", ("x86-64-v2", "x86-64-v3"))
@pytest.mark.parametrize("name", CASES)
def test_older_machines(name: str, target: str) -> None:
    check(CASES[name], target)
