"""Depthwise and pointwise convolutions, channels first throughout: results as in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, relu

import stepwell as sw

SOURCE = """
use nn
model separable(x: f32[N, 24, {height}, {width}]) -> f32[N, 40, {height}, {width}] {{
    let depthwise = nn.conv2d(x, channels: 24, kernel: 3, padding: 1, groups: 24)
    relu(nn.conv2d(relu(depthwise), channels: 40, kernel: 1))
}}
"""


@pytest.mark.parametrize("size", [(56, 56), (37, 51), (9, 33)])
def test_a_separable_convolution_on_one_and_two_threads(size: tuple[int, int]) -> None:
    source = SOURCE.format(height=size[0], width=size[1])
    one, two = (sw.compile(source, threads=threads, seed=1) for threads in (1, 2))
    w = {name: torch.from_numpy(np.array(value)) for name, value in one.parameters.items()}
    x = np.random.default_rng(0).standard_normal((2, 24, *size)).astype("f")
    out = one(x)
    assert np.array_equal(out, two(x))
    depthwise, pointwise = sorted({name.rsplit(".", 1)[0] for name in w}, key="depthwise".__ne__)
    y = relu(conv2d(torch.from_numpy(x), w[f"{depthwise}.weight"], w[f"{depthwise}.bias"],
                    padding=1, groups=24))  # fmt: skip
    y = relu(conv2d(y, w[f"{pointwise}.weight"], w[f"{pointwise}.bias"]))
    np.testing.assert_allclose(out, y.numpy(), rtol=1e-4, atol=1e-4)
