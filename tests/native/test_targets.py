"""Representative kernels compiled for each width of vectors and run here, on one thread and on two.

Whatever strategies choose for a machine (vectors, registers, multiply-adds, masks), the results are
PyTorch's, and the same bits on any number of threads. What other architectures get must link.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import stepwell as sw
from stepwell.codegen.objects import build
from stepwell.compilation import Compilation, Options
from stepwell.ir.diagnostics import InputError
from stepwell.ir.target import named
from stepwell.runnable import require_runnable
from stepwell.source import as_source

SOURCE = """
use nn
model product(x: f32[130, 100]) -> f32[130, 75] { relu(nn.dense(x, units: 75)) }
model row(x: f32[1, 300]) -> f32[1, 131] { nn.dense(x, units: 131) }
model conv(x: f32[1, 16, 19, 23]) -> f32[1, 35, 19, 23] {
    relu(nn.conv2d(x, channels: 35, kernel: 3, padding: 1))
}
model pointwise_conv(x: f32[1, 40, 9, 9]) -> f32[1, 24, 9, 9] {
    nn.conv2d(x, channels: 24, kernel: 1)
}
model depthwise(x: f32[1, 24, 17, 21]) -> f32[1, 24, 9, 11] {
    nn.conv2d(x, channels: 24, kernel: 3, padding: 1, stride: 2, groups: 24)
}
model soft(x: f32[N, 77]) -> f32[N, 77] { softmax(x) }
model norm(x: f32[N, 77]) -> f32[N, 77] { nn.layer_norm(x) }
model gelus(x: f32[N, 77]) -> f32[N, 77] { gelu(x) }
model embed(ids: i32[N]) -> f32[N, 37] { nn.embedding(ids, count: 50, width: 37) }
"""
Torch = Callable[..., torch.Tensor]
REFERENCES: dict[str, tuple[tuple[int, ...], Torch]] = {
    "product": ((130, 100), lambda x, w, b: torch.relu(x @ w + b)),
    "row": ((1, 300), lambda x, w, b: x @ w + b),
    "conv": ((1, 16, 19, 23), lambda x, w, b: torch.relu(F.conv2d(x, w, b, padding=1))),
    "pointwise_conv": ((1, 40, 9, 9), F.conv2d),
    "depthwise": (
        (1, 24, 17, 21),
        lambda x, w, b: F.conv2d(x, w, b, padding=1, stride=2, groups=24),
    ),
    "soft": ((67, 77), lambda x: torch.softmax(x, -1)),
    "norm": ((67, 77), lambda x, g, b: F.layer_norm(x, (77,), g, b)),
    "gelus": ((67, 77), F.gelu),
    "embed": ((203,), lambda ids, table: table[ids]),
}


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("name", REFERENCES)
def test_kernels_for_every_width(name: str, target: str) -> None:
    try:
        require_runnable(named(target))
    except InputError as error:
        pytest.skip(str(error))
    shape, reference = REFERENCES[name]
    generator = np.random.default_rng(5)
    x = generator.standard_normal(shape).astype(np.float32)
    if name == "embed":
        x = generator.integers(0, 50, shape).astype(np.int32)
    model = sw.compile(SOURCE, name, target_cpu=target, threads=1, cache=False)
    actual = model(x)

    given = torch.from_numpy(x.astype(np.int64 if name == "embed" else np.float64))
    weights = [torch.from_numpy(w.astype(np.float64)) for w in model.parameters.values()]
    expected = reference(given, *weights).numpy()
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    assert model.with_threads(2)(x).tobytes() == actual.tobytes()


@pytest.mark.parametrize("target", ["neoverse-n1", "riscv64"])
@pytest.mark.parametrize("name", ["conv", "soft", "embed"])
def test_other_architectures_compile_and_link(name: str, target: str, tmp_path: Path) -> None:
    program = Compilation(as_source(SOURCE), Options(name, target)).program
    linked = importlib.util.find_spec("ziglang") is not None
    path = tmp_path / ("libnet.so" if linked else "net.a")
    build([program], named(target), path)
    assert path.read_bytes()[:4] == (b"\x7fELF" if linked else b"!<ar")
