"""The standard library against PyTorch, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from interpreted_models import run_model

from stepwell.frontend import check
from stepwell.frontend.entries import Entry
from stepwell.frontend.library import library_source
from stepwell.frontend.optimizer_entry import OptimizerEntry
from stepwell.frontend.signatures import is_static

RNG = np.random.default_rng(0)


def _normal(*shape: int) -> Any:
    return RNG.standard_normal(shape)


def _compare(source: str, expected: torch.Tensor, *arrays: Any, **parameters: Any) -> None:
    found = run_model(source, *arrays, **parameters)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-12)


SAMPLES = {"int": 2, "float": 1.0, "bool": True, "string": "s"}


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("name", ["prelude", "losses", "optimizers", "nn"])
def test_the_library_by_itself(name: str, rank: int) -> None:
    """Each function, elaborated alone; only the number of axes may be refused."""
    source = library_source(name)
    assert source is not None
    loaded = check(source[1], source[0])
    for function in loaded.root.tree.functions:
        needed = {
            f.name: SAMPLES[f.type.name]
            for f in function.formals
            if is_static(f.type) and f.default is None
        }
        kind = OptimizerEntry if function.kind == "optimizer" else Entry
        faults = kind(loaded, loaded.root, function, needed, rank).faults()
        assert {fault.code for fault in faults} <= ({"SW0219"} if rank == 0 else set()), faults


ACTIVATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "mish": F.mish,
    "hard_sigmoid": F.hardsigmoid,
    "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    x = 4 * _normal(5, 7)
    source = f"model m(x: f64[N, 7]) -> f64[N, 7] {{ {name}(x) }}"
    found = run_model(source, x)
    expected = ACTIVATIONS[name](torch.from_numpy(x))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-9, atol=1e-9)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name: str) -> None:
    x, y = 3 * _normal(6, 5), RNG.random((6, 5))
    source = f"model m(x: f64[N, K], y: f64[N, K]) -> f64 {{ {name}(x, y) }}"
    _compare(source, LOSSES[name](torch.from_numpy(x), torch.from_numpy(y)), x, y)


def test_cross_entropy_of_a_batch_of_sequences() -> None:
    x, y = _normal(3, 4, 6), RNG.integers(0, 6, (3, 4))
    source = "model m(x: f64[N, T, 6], y: i64[N, T]) -> f64 { cross_entropy(x, y) }"
    expected = F.cross_entropy(torch.from_numpy(x.reshape(12, 6)), torch.from_numpy(y.ravel()))
    _compare(source, expected, x, y)


def test_accuracy() -> None:
    x, y = _normal(3, 4, 6), RNG.integers(0, 2, (3, 4)).astype(np.uint8)
    source = "model m(x: f64[N, T, 6], y: u8[N, T]) { accuracy(x, y) }"
    assert run_model(source, x, y) == np.float32((x.argmax(-1) == y).mean())


def test_one_hot() -> None:
    ids = np.array([[0, 3], [2, 1]], np.int32)
    found = run_model("model m(x: i32[N, 2]) -> f32[N, 2, 4] { one_hot(x, 4) }", ids)
    np.testing.assert_array_equal(found, np.eye(4, dtype=np.float32)[ids])


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [(1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 2, 1), (2, 1, 1, 2), (1, 1, 1, 4)],
)
def test_conv2d(stride: int, padding: int, dilation: int, groups: int) -> None:
    x, w, b = _normal(2, 4, 9, 8), _normal(8, 4 // groups, 3, 3), _normal(8)
    source = f"""use nn
    model m(x: f64[N, 4, 9, 8]) {{
        nn.conv2d(x, channels: 8, kernel: 3, stride: {stride}, padding: {padding},
                  dilation: {dilation}, groups: {groups})
    }}"""
    expected = F.conv2d(
        *map(torch.from_numpy, (x, w, b)),
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    _compare(source, expected, x, conv2d_weight=w, conv2d_bias=b)


def test_conv1d() -> None:
    x, w, b = _normal(2, 3, 11), _normal(5, 3, 4), _normal(5)
    source = """use nn
    model m(x: f64[N, 3, L]) { nn.conv1d(x, channels: 5, kernel: 4, stride: 3, padding: 2) }"""
    expected = F.conv1d(*map(torch.from_numpy, (x, w, b)), stride=3, padding=2)
    _compare(source, expected, x, conv1d_weight=w, conv1d_bias=b)


@pytest.mark.parametrize(
    ("stride", "padding", "extra", "dilation", "groups"),
    [(1, 0, 0, 1, 1), (2, 1, 1, 1, 1), (3, 0, 0, 1, 1), (2, 1, 0, 2, 1), (2, 1, 1, 1, 2)],
)
def test_conv_transpose2d(
    stride: int, padding: int, extra: int, dilation: int, groups: int
) -> None:
    x, w, b = _normal(2, 4, 5, 6), _normal(4, 6 // groups, 3, 3), _normal(6)
    source = f"""use nn
    model m(x: f64[N, 4, H, W]) {{
        nn.conv_transpose2d(x, channels: 6, kernel: 3, stride: {stride}, padding: {padding},
                            output_padding: {extra}, dilation: {dilation}, groups: {groups})
    }}"""
    expected = F.conv_transpose2d(
        *map(torch.from_numpy, (x, w, b)), stride=stride, padding=padding,
        output_padding=extra, groups=groups, dilation=dilation,
    )  # fmt: skip
    _compare(source, expected, x, conv_transpose2d_weight=w, conv_transpose2d_bias=b)


POOLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nn.max_pool2d(x, 2)": lambda x: F.max_pool2d(x, 2),
    "nn.max_pool2d(x, 3, stride: 2, padding: 1)": lambda x: F.max_pool2d(x, 3, 2, 1),
    "nn.avg_pool2d(x, 2)": lambda x: F.avg_pool2d(x, 2),
    "nn.avg_pool2d(x, 3, stride: 2, padding: 1)": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "nn.global_avg_pool2d(x)": lambda x: x.mean((2, 3)),
    "nn.global_max_pool2d(x)": lambda x: x.amax((2, 3)),
}


@pytest.mark.parametrize("call", POOLS)
def test_pool(call: str) -> None:
    x = _normal(2, 3, 9, 8)
    source = f"use nn\nmodel m(x: f64[N, C, H, W]) {{ {call} }}"
    _compare(source, POOLS[call](torch.from_numpy(x)), x)


def test_layer_norm() -> None:
    x, scale, shift = _normal(2, 5, 6), _normal(6), _normal(6)
    source = "use nn\nmodel m(x: f64[N, T, 6]) { nn.layer_norm(x) }"
    expected = F.layer_norm(*(torch.from_numpy(a) if i != 1 else a for i, a in
                              enumerate((x, (6,), scale, shift))))  # fmt: skip
    _compare(source, expected, x, layer_norm_scale=scale, layer_norm_shift=shift)


def test_rms_norm() -> None:
    x, scale = _normal(2, 6), _normal(6)
    source = "use nn\nmodel m(x: f64[N, 6]) { nn.rms_norm(x, epsilon: 1e-6) }"
    expected = F.rms_norm(torch.from_numpy(x), (6,), torch.from_numpy(scale), 1e-6)
    _compare(source, expected, x, rms_norm_scale=scale)


def test_batch_norm() -> None:
    x = _normal(2, 4, 3, 5)
    scale, shift, mean = _normal(4), _normal(4), _normal(4)
    variance = RNG.random(4) + 0.5
    source = "use nn\nmodel m(x: f64[N, 4, H, W]) { nn.batch_norm(x) }"
    expected = F.batch_norm(*map(torch.from_numpy, (x, mean, variance, scale, shift)))
    _compare(
        source, expected, x, batch_norm_scale=scale, batch_norm_shift=shift,
        batch_norm_running_mean=mean, batch_norm_running_variance=variance,
    )  # fmt: skip


def test_group_norm() -> None:
    x, scale, shift = _normal(2, 6, 3, 5), _normal(6), _normal(6)
    source = "use nn\nmodel m(x: f64[N, 6, H, W]) { nn.group_norm(x, groups: 3) }"
    expected = F.group_norm(torch.from_numpy(x), 3, torch.from_numpy(scale),
                            torch.from_numpy(shift))  # fmt: skip
    _compare(source, expected, x, group_norm_scale=scale, group_norm_shift=shift)


def test_embedding() -> None:
    ids, table = RNG.integers(0, 9, (3, 4)), RNG.standard_normal((9, 5)).astype(np.float32)
    source = "use nn\nmodel m(x: i64[N, T]) { nn.embedding(x, count: 9, width: 5) }"
    np.testing.assert_array_equal(run_model(source, ids, embedding_weight=table), table[ids])


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention(causal: bool) -> None:
    x = _normal(2, 5, 8)
    weights = {f"w{k}": _normal(8, 8) for k in "qkvo"} | {f"b{k}": _normal(8) for k in "qkvo"}
    source = f"""use nn
    model m(x: f64[N, T, 8]) {{
        nn.multi_head_attention(x, heads: 2, causal: {str(causal).lower()}, name: "attn")
    }}"""
    t = {k: torch.from_numpy(v) for k, v in weights.items()}
    q, k, v = (
        (torch.from_numpy(x) @ t[f"w{n}"] + t[f"b{n}"]).reshape(2, 5, 2, 4).transpose(1, 2)
        for n in "qkv"
    )
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    expected = mixed.transpose(1, 2).reshape(2, 5, 8) @ t["wo"] + t["bo"]
    _compare(source, expected, x, **{f"attn_{k}": v for k, v in weights.items()})


HELPERS: dict[str, Callable[..., Any]] = {
    "variance(x)": lambda x: x.var(-1),
    "outer(x[0], x[1])": lambda x: np.outer(x[0], x[1]),
    "dot(x[0], x[1])": lambda x: x[0] @ x[1],
    "trace(x)": np.trace,
    "diagonal(x)": np.diagonal,
    "clamp(x, -0.5, 0.5)": lambda x: np.clip(x, -0.5, 0.5),
    "square(x)": np.square,
    "batched_matmul(x, x)": lambda x: x @ x,
    'einsum("ij,kj->ki", x, x)': lambda x: np.einsum("ij,kj->ki", x, x),
    "stack([x, x], axis: 1)": lambda x: np.stack([x, x], 1),
    "pad(x, [1, 0], [0, 2], value: 3)": lambda x: np.pad(x, [(1, 0), (0, 2)], constant_values=3),
    "cumsum(x, axis: 0)": lambda x: np.cumsum(x, 0),
    "gather(x, iota([2]) * 2)": lambda x: x[[0, 2]],
    "reverse(x, axis: 1)": lambda x: x[:, ::-1],
    "flatten(x)": np.ravel,
    "mean(x, axis: 0, keep: true)": lambda x: x.mean(0, keepdims=True),
    "max(x, axis: [0, 1])": np.max,
    "cast(argmin(x, axis: -1), f64)": lambda x: x.argmin(-1).astype(float),
    "x ** 2 - 2 ** x": lambda x: x**2 - 2**x,
    "x / size(x, 0) + 1 / 2": lambda x: x / 4 + 0.5,
    "full([3, 2], 1.5, f64)": lambda x: np.full((3, 2), 1.5),
    "broadcast(x[0], [2, 3, 4])": lambda x: np.broadcast_to(x[0], (2, 3, 4)),
    "select(x > 0, x, 0)": lambda x: np.where(x > 0, x, 0),
    "unsqueeze(x, 1)": lambda x: x[:, None],
    "transpose(x)": np.transpose,
}


@pytest.mark.parametrize("call", HELPERS)
def test_helper(call: str) -> None:
    x = _normal(4, 4)
    source = f"model m(x: f64[4, 4]) {{ {call} }}"
    expected = np.asarray(HELPERS[call](x))
    found = run_model(source, x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
