"""All gradients of whole networks, in native code and float64: PyTorch's, to 1e-9 of the largest.

Each network is a source of `examples/` or `benchmarks/peers/` with every f32 made f64, and a train
block whose optimizer keeps the gradients as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_networks import Weights, resnet18
from torch import Tensor

import stepwell as sw
from stepwell.bench.twins import load_twins

ROOT = Path(__file__).parents[2]
Arrays = dict[str, np.ndarray]
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


Leaves = dict[str, Tensor]  # parameters that have gradients after a backward pass, and statistics
Reference = Callable[[Tensor], tuple[tuple[Tensor, ...], Leaves, Arrays]]


@dataclass(frozen=True)
class Network:
    """A model, the folder of its source, what gives PyTorch's results, parameters, and these as
    they were before; the shape of its input."""

    folder: Path
    reference: Reference
    shape: tuple[int, ...]
    smaller: tuple[str, str] = ("", "")  # a size, as it is and as it is quick


def _resnet18(x: Tensor) -> tuple[tuple[Tensor, ...], Leaves, Arrays]:
    p = Weights(training=True)
    return (resnet18(p, x),), p.tensors, p.drawn


def _peer(name: str) -> Reference:
    def reference(x: Tensor) -> tuple[tuple[Tensor, ...], Leaves, Arrays]:
        module = PEERS[name].module().double().train()
        outputs = module(x)
        leaves = dict(module.named_parameters())
        held = {path: leaf.detach().numpy() for path, leaf in leaves.items()}
        return outputs if isinstance(outputs, tuple) else (outputs,), leaves, held

    return reference


NETWORKS = {
    "resnet18": Network(ROOT / "examples", _resnet18, (4, 3, 64, 64), ("224, 224", "64, 64")),
    "bert_layer_s128": Network(
        SOURCES, _peer("bert_layer_s128"), (1, 32, 768), ("1, 128, 768", "1, 32, 768")
    ),
    "transformer_block_train_s64": Network(
        SOURCES, _peer("transformer_block_train_s64"), (8, 64, 256)
    ),
    "lstm_s64_h256": Network(
        SOURCES, _peer("lstm_s64_h256"), (10, 1, 256), ("64, 1, 256", "10, 1, 256")
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name: str, tmp_path: Path) -> None:
    """And the loss, and what batch normalisation keeps."""
    network = NETWORKS[name]
    torch.manual_seed(0)
    x = torch.randn(network.shape, dtype=torch.float64)
    outputs, leaves, held = network.reference(x)
    weights = [torch.randn(y.shape, dtype=torch.float64) for y in outputs]
    loss = torch.stack([(y * w).sum() for y, w in zip(outputs, weights, strict=True)]).sum()
    loss.backward()

    source = _source(name, network, [tuple(y.shape) for y in outputs], tmp_path)
    given = {path: array.astype(np.float64) for path, array in held.items()}
    trainer = sw.trainer(source, "gradients", weights=given)
    found = trainer.step(x.numpy(), *[w.numpy() for w in weights])["loss"]
    assert found == pytest.approx(loss.item(), rel=1e-10)
    for path, leaf in leaves.items():
        kept = path if leaf.grad is None else f"optimizer.{path}.kept"
        expected = (leaf if leaf.grad is None else leaf.grad).numpy()
        assert np.abs(trainer.state[kept] - expected).max() <= 1e-9 * np.abs(expected).max(), path


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
