"""Models that join what they compute: right for any threads and target, and nothing is copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import stepwell as sw

CONCATS = Path(__file__).parent / "concats.well"
Tensors = Mapping[str, torch.Tensor]


def _products(p: Tensors, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cat([x @ a, torch.tanh(x @ b)], 1)


def _rows(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    y = F.layer_norm(x, (48,), p["a.scale"], p["a.shift"])
    return torch.cat([x.softmax(-1), y, torch.exp(x.cumsum(-1) * 0.1), x[..., :16] * 2], -1)


def _sums(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x.sum(2), x.mean(1)], 1)


def _conv(p: Tensors, name: str, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
    return F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=padding)


def _images(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    b = F.relu(_conv(p, "b", x))
    pooled = F.max_pool2d(x, 3, 1, 1)
    return torch.cat([F.relu(_conv(p, "a", x, 1)), pooled, b, _conv(p, "c", b, 2)], 1)


def _skips(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    wide = F.relu(_conv(p, "down", x, 1))
    deep = F.relu(_conv(p, "deep", F.max_pool2d(wide, 2), 1))
    up = F.conv_transpose2d(deep, p["up.weight"], p["up.bias"], stride=2)
    return _conv(p, "out", torch.cat([wide, up], 1), 1)


def _grows(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    for turn in range(3):
        x = torch.cat([x, _conv(p, f"conv2d.{turn}", F.relu(x), 1)], 1)
    return x


MODELS: dict[str, tuple[Callable[..., torch.Tensor], tuple[tuple[int, ...], ...]]] = {
    "products": (_products, ((37, 128), (128, 96), (128, 80))),
    "rows": (_rows, ((5, 7, 48),)),
    "sums": (_sums, ((9, 40, 24),)),
    "images": (_images, ((2, 16, 14, 14),)),
    "skips": (_skips, ((1, 4, 16, 16),)),
    "grows": (_grows, ((2, 32, 8, 8),)),
}


@pytest.mark.parametrize("target", [None, "x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("name", MODELS)
def test_against_torch(name: str, target: str | None) -> None:
    reference, shapes = MODELS[name]
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    found = []
    for threads in (1, 2):
        model = sw.compile(CONCATS, model=name, threads=threads, target_cpu=target)
        found.append(model(*inputs))
    assert found[0].tobytes() == found[1].tobytes()
    parameters = {path: torch.from_numpy(array.copy()) for path, array in model.parameters.items()}
    with torch.no_grad():
        wanted = reference(parameters, *map(torch.from_numpy, inputs)).numpy()
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("products", ["matmul", "matmul_tanh"]),
        ("rows", ["cumsum_mul_exp", "layer_norm", "mul", "softmax"]),
        (
            "skips",
            [
                "add_relu",
                "conv",
                "conv_add",
                "conv_add_2",
                *("conv_add_relu", "max_pool", "transpose"),
            ],
        ),
    ],
)
def test_no_kernel_copies(name: str, left: list[str]) -> None:
    """Each part is written in its place by what computes it."""
    model = sw.compile(CONCATS, model=name)
    assert sorted(kernel.name for kernel in model.kernels) == left


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_of_heads_are_joined_in_place(batch: int) -> None:
    """Those of queries, keys and values, which one product makes, are parts of one array."""
    source = """
        use nn
        fn loss(x: f32[2, 16, 64], w: f32[64, 192]) -> f32 {
            let y = x @ w
            let q = heads(y[..., 0:64])
            let k = heads(y[..., 64:128])
            let v = heads(y[..., 128:192])
            sum(nn.scaled_attention(q, k, v, causal: true) ** 2)
        }
        fn heads(x: f32[2, 16, 64]) -> f32[2, 16, 4, 16] { reshape(x, [2, 16, 4, 16]) }
        model slope(x: f32[2, 16, 64], w: f32[64, 192]) -> f32[64, 192] {
            grad(loss, wrt: w)(x, w)
        }"""
    source = source.replace("[2,", f"[{batch},")
    model = sw.compile(source, threads=2)
    assert not [kernel for kernel in model.kernels if "concat" in kernel.name]
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("f") for shape in ((batch, 16, 64), (64, 192)))
    w /= 8  # scores of some size: with larger ones float32 keeps three digits
    weight = torch.from_numpy(w).requires_grad_()
    heads = (torch.from_numpy(x) @ weight).reshape(batch, 16, 3, 4, 16).permute(2, 0, 3, 1, 4)
    (F.scaled_dot_product_attention(*heads, is_causal=True) ** 2).sum().backward()
    np.testing.assert_allclose(model(x, w), weight.grad, rtol=1e-4, atol=1e-2)
