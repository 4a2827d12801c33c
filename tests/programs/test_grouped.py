"""Convolutions in groups of a few channels, between others that are channels last: results as in
PyTorch, and rows read in vectors, never gathered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

import stepwell as sw

SOURCE = """
use nn
model bottleneck(x: f32[2, 16, {height}, {width}]) -> f32[2, 16, {height}, {width}] {{
    let p = nn.max_pool2d(x, 3, 1, 1)
    let a = relu(nn.conv2d(p, channels: 64, kernel: 1, name: "reduce"))
    let b = relu(nn.conv2d(a, channels: 64, kernel: 3, padding: 1, groups: {groups}, name: "wide"))
    relu(p + nn.conv2d(b, channels: 16, kernel: 1, name: "expand") + nn.max_pool2d(p, 3, 1, 1))
}}
"""


def _reference(x: Tensor, w: dict[str, Tensor], groups: int) -> Tensor:
    p = max_pool2d(x, 3, 1, 1)
    a = relu(conv2d(p, w["reduce.weight"], w["reduce.bias"]))
    b = relu(conv2d(a, w["wide.weight"], w["wide.bias"], padding=1, groups=groups))
    return relu(p + conv2d(b, w["expand.weight"], w["expand.bias"]) + max_pool2d(p, 3, 1, 1))


@pytest.mark.parametrize(("groups", "size"), [(16, (13, 19)), (32, (8, 33)), (32, (7, 7))])
def test_a_bottleneck_on_one_and_two_threads(groups: int, size: tuple[int, int]) -> None:
    source = SOURCE.format(groups=groups, height=size[0], width=size[1])
    one, two = (sw.compile(source, threads=threads, seed=1) for threads in (1, 2))
    w = {name: torch.from_numpy(np.array(value)) for name, value in one.parameters.items()}
    x = np.random.default_rng(0).standard_normal((2, 16, *size)).astype("f")
    out = one(x)
    assert np.array_equal(out, two(x))
    expected = _reference(torch.from_numpy(x), w, groups)
    np.testing.assert_allclose(out, expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [16, 32])
def test_rows_are_neither_gathered_nor_scattered(groups: int) -> None:
    """The image is turned by a kernel of its own; the window's nest reads and writes rows."""
    model = sw.compile(SOURCE.format(groups=groups, height=32, width=32))
    _, *functions = str(model.stage("llvm")).split("\ndefine ")
    nests = [text for text in functions if 'conv_add_relu_2.task"' in text.split("(")[0]]
    assert nests
    assert not any("llvm.masked." + way in text for text in nests for way in ("gather", "scatter"))
