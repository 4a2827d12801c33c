"""All gradients of whole networks, in native code and float64: PyTorch's, to 1e-9 of the largest.

Each network is a source of `examples/` or `benchmarks/peers/` with every f32 made f64, and a train
block whose optimizer keeps the gradients as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import stepwell as sw
from stepwell.bench.twins import load_twins

ROOT = Path(__file__).parents[2]
Array = np.ndarray[Any, np.dtype[np.float64]]
SOURCES = ROOT / "benchmarks" / "peers"
PEERS = load_twins(SOURCES)
TRAIN = """
optimizer keep() {{
    state kept = zeros
    kept = gradient
    parameter = parameter
}}
train gradients(x: f64{x}, {inputs}) {{
    let {names} = {model}(x)
    loss = {loss}
    optimizer = keep()
}}
"""


class Block(nn.Module):
    """A basic block of `examples/resnet18.well`."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.add_module("conv", nn.Conv2d(inputs, channels, 1, stride, bias=False))
            self.shortcut.add_module("bn", nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


class Stage(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.block1 = Block(inputs, channels, 1 if inputs == channels else 2)
        self.block2 = Block(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.block2(self.block1(x))


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2 = Stage(64, 64), Stage(64, 128)
        self.layer3, self.layer4 = Stage(128, 256), Stage(256, 512)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


@dataclass(frozen=True)
class Network:
    """A model, the folder of its source, its twin in PyTorch, the shape of its input."""

    folder: Path
    twin: Callable[[], nn.Module]
    shape: tuple[int, ...]
    smaller: tuple[str, str] = ("", "")  # a size, as it is and as it is quick


NETWORKS = {
    "resnet18": Network(ROOT / "examples", ResNet18, (4, 3, 64, 64), ("224, 224", "64, 64")),
    "bert_layer_s128": Network(
        SOURCES, PEERS["bert_layer_s128"].make, (1, 32, 768), ("1, 128, 768", "1, 32, 768")
    ),
    "transformer_block_train_s64": Network(
        SOURCES, PEERS["transformer_block_train_s64"].make, (8, 64, 256)
    ),
    "lstm_s64_h256": Network(
        SOURCES, PEERS["lstm_s64_h256"].make, (10, 1, 256), ("64, 1, 256", "10, 1, 256")
    ),
}
BATCH_NORM = {
    "weight": "scale", "bias": "shift", "running_mean": "running_mean",
    "running_var": "running_variance",
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    torch.manual_seed(0)
    twin = network.twin().double().train()
    x = torch.randn(network.shape).double()
    outputs = twin(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    weights = [torch.randn(y.shape).double() for y in outputs]
    loss = torch.stack([(y * w).sum() for y, w in zip(outputs, weights, strict=True)]).sum()
    loss.backward()

    source = _source(name, network, [tuple(y.shape) for y in outputs], tmp_path)
    trainer = sw.trainer(source, "gradients", weights=_arrays(dict(twin.named_parameters())))
    found = trainer.step(x.numpy(), *[w.numpy() for w in weights])["loss"]
    assert found == pytest.approx(loss.item(), rel=1e-10)
    gradients = {path: _of(p.grad) for path, p in twin.named_parameters()}
    for path, expected in _arrays(gradients).items():
        _near(trainer.state[f"optimizer.{path}.kept"], expected, path)
    statistics = {path: p for path, p in twin.named_buffers() if p.dim()}
    for path, expected in _arrays(statistics).items():
        _near(trainer.state[path], expected, path)


def _of(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient


def _near(actual: Array, expected: Array, path: str) -> None:
    assert np.abs(actual - expected).max() <= 1e-9 * np.abs(expected).max(), path


def _arrays(tensors: dict[str, Tensor]) -> dict[str, Array]:
    """Parameters and statistics of a twin as Stepwell calls them, and lays them out."""
    found = {}
    for path, tensor in tensors.items():
        folder, _, last = path.rpartition(".")
        if folder.endswith(("bn", "bn1", "bn2")):
            path = f"{folder}.{BATCH_NORM[last]}"
        array = tensor.detach().numpy()
        found[path] = array.T if path == "fc.weight" else array
    return found


def _source(name: str, network: Network, outputs: list[tuple[int, ...]], folder: Path) -> Path:
    """The network's text in f64, with a train block for Σ w y over all its results y."""
    for path in (*SOURCES.glob("torch_layers.well"), network.folder / f"{name}.well"):
        (folder / path.name).write_text(_wide(path.read_text()))
    source = folder / f"{name}.well"
    counts = range(len(outputs))
    text = source.read_text().replace(*network.smaller)
    train = TRAIN.format(
        x=list(network.shape),
        inputs=", ".join(f"w{i}: f64{list(outputs[i])}" for i in counts),
        names=", ".join(f"y{i}" for i in counts),
        model=name,
        loss=" + ".join(f"sum(w{i} * y{i})" for i in counts),
    )
    source.write_text(text.split("\ntrain ")[0] + train)
    return source


def _wide(text: str) -> str:
    """A source with f64 for f32, written and meant."""
    return re.sub(r"zeros\((\[.*?\])\)", r"zeros(\1, dtype: f64)", text.replace("f32", "f64"))
