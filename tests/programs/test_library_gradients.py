"""The gradient of every function, layer and loss of the library, and of the gallery's models,
against finite differences in float64."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import stepwell as sw

GALLERY = Path(__file__).parents[2] / "examples" / "gallery.well"
LIBRARY = Path(__file__).parents[2] / "frontend" / "stdlib"

ACTIVATIONS = [
    *(
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "gelu",
        "gelu_tanh",
        "silu",
        "softplus",
        "mish",
    ),
    *("hard_sigmoid", "hard_swish", "softmax", "log_softmax", "square", "variance", "dropout"),
]
CALLS = {name: ("x: f32[N, 5]", f"{name}(x)") for name in ACTIVATIONS}
CALLS |= {
    "clamp": ("x: f32[N, 5]", "clamp(x, -0.5, 1)"),
    "one_hot": ("x: f32[N, 5], ids: i32[N]", "one_hot(ids, 5) * x"),
    "dot": ("a: f32[K], b: f32[K]", "dot(a, b)"),
    "outer": ("a: f32[N], b: f32[M]", "outer(a, b)"),
    "batched_matmul": ("a: f32[2, N, K], b: f32[2, K, M]", "batched_matmul(a, b)"),
    "diagonal": ("x: f32[N, N]", "diagonal(x)"),
    "trace": ("x: f32[N, N]", "trace(x)"),
    "cross_entropy": ("x: f32[N, 5], label: i32[N]", "cross_entropy(x, label)"),
    "nll": ("x: f32[N, 5], label: i32[N]", "nll(log_softmax(x), label)"),
    "binary_cross_entropy_with_logits": (
        "x: f32[N, 5], y: f32[N, 5]", "binary_cross_entropy_with_logits(x, sigmoid(y))",
    ),
    "mse": ("x: f32[N, 5], y: f32[N, 5]", "mse(x, y)"),
    "l1": ("x: f32[N, 5], y: f32[N, 5]", "l1(x, y)"),
    "huber": ("x: f32[N, 5], y: f32[N, 5]", "huber(x, y)"),
    "kl_divergence": ("x: f32[N, 5], y: f32[N, 5]", "kl_divergence(log_softmax(x), softmax(y))"),
    "dense": ("x: f32[N, T, 5]", "nn.dense(x, units: 3)"),
    "embedding": ("ids: i32[N]", "nn.embedding(ids, count: 3, width: 4)"),
    "conv1d": ("x: f32[N, 4, 9]", "nn.conv1d(x, channels: 6, kernel: 3, stride: 2, groups: 2)"),
    "conv2d": ("x: f32[N, 3, 6, 7]", "nn.conv2d(x, channels: 2, kernel: 3, stride: 2, padding: 1)"),
    "depthwise": ("x: f32[N, 3, 6, 7]", "nn.conv2d(x, channels: 3, kernel: 3, groups: 3)"),
    "conv_transpose2d": (
        "x: f32[N, 3, 4, 3]", "nn.conv_transpose2d(x, channels: 2, kernel: 3, stride: 2)",
    ),
    "max_pool1d": ("x: f32[N, 2, 9]", "nn.max_pool1d(x, 3, stride: 2)"),
    "max_pool2d": ("x: f32[N, 2, 6, 6]", "nn.max_pool2d(x, 2)"),
    "avg_pool1d": ("x: f32[N, 2, 9]", "nn.avg_pool1d(x, 3, stride: 2)"),
    "avg_pool2d": ("x: f32[N, 2, 6, 6]", "nn.avg_pool2d(x, 3, stride: 2, padding: 1)"),
    "global_avg_pool2d": ("x: f32[N, 2, 4, 3]", "nn.global_avg_pool2d(x)"),
    "global_max_pool2d": ("x: f32[N, 2, 4, 3]", "nn.global_max_pool2d(x)"),
    "batch_norm": ("x: f32[N, 3, 4, 2]", "nn.batch_norm(x)"),
    "layer_norm": ("x: f32[N, T, 6]", "nn.layer_norm(x)"),
    "rms_norm": ("x: f32[N, T, 6]", "nn.rms_norm(x)"),
    "group_norm": ("x: f32[N, 4, 3, 2]", "nn.group_norm(x, groups: 2)"),
    "scaled_attention": (
        "q: f32[N, 2, T, 4], k: f32[N, 2, T, 4], v: f32[N, 2, T, 4]",
        "nn.scaled_attention(q, k, v)",
    ),
    "multi_head_attention": ("x: f32[N, T, 6]", "nn.multi_head_attention(x, heads: 2)"),
}  # fmt: skip
FLAT = {"accuracy"}  # no gradient
LAYERS = re.compile(r"^(?:fn|layer) (\w+)\(", re.MULTILINE)
MODELS = re.compile(r"^model (\w+)\(", re.MULTILINE)
WITHOUT_FLOATS = {"life", "nearest", "pareto_front", "histogram"}  # results of the gallery


def test_everything_in_the_library_is_here() -> None:
    inside = {"pick", "cached_attention"}  # of a loss; of a model that writes, token by token
    for file in ("nn", "losses", "prelude"):
        names = set(LAYERS.findall((LIBRARY / f"{file}.well").read_text()))
        assert names - CALLS.keys() - FLAT <= inside


@pytest.mark.parametrize("name", CALLS)
def test_library(name: str) -> None:
    signature, call = CALLS[name]
    found = sw.gradcheck(f"use nn\nmodel m({signature}) {{ {call} }}", samples=30)
    assert found.ok, str(found)
    assert max(abs(report.gradient) for report in found.reports) > 0


@pytest.mark.parametrize("model", MODELS.findall(GALLERY.read_text()))
def test_gallery(model: str) -> None:
    if model not in WITHOUT_FLOATS:
        found = sw.gradcheck(GALLERY, model, samples=6)
        assert found.ok, str(found)
