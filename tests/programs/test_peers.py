"""The workloads of `benchmarks/peers/` against the same modules of PyTorch, in float64.

Each source must take the module's parameters as they are (names, shapes, their order) and its
example inputs, and give its outputs: so that one set of weights feeds Stepwell and its peers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import stepwell as sw
from stepwell.bench.twins import load_twins
from stepwell.frontend import check, elaborate_train
from stepwell.ir.graph import interpret_step

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
WORKLOADS = load_twins(PEERS)


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload(name: str) -> None:
    """PyTorch's parameters go in, PyTorch's results come out."""
    module = WORKLOADS[name].module()
    weights = {name: p.detach().numpy() for name, p in module.named_parameters()}
    inputs = [torch.randn(shape) for shape in WORKLOADS[name].shapes]
    model = sw.compile(PEERS / f"{name}.well", weights=weights or None)
    assert [(name, value.shape) for name, value in model.parameters.items()] == [
        (name, value.shape) for name, value in weights.items()
    ]

    actual = model(*[x.numpy() for x in inputs])
    with torch.no_grad():
        expected = module.double()(*[x.double() for x in inputs])
    if isinstance(expected, Tensor):
        actual, expected = (actual,), (expected,)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == tuple(e.shape)
        assert np.abs(a - e.numpy()).max() <= 1e-4 * np.abs(e.numpy()).max()


TRAINED = [name for name, workload in WORKLOADS.items() if workload.labels]


@pytest.mark.parametrize("name", TRAINED)
def test_training_step(name: str) -> None:
    """One step of SGD with a rate of 0.01: the loss, and how much each parameter changes."""
    count, classes = WORKLOADS[name].labels
    module = WORKLOADS[name].module().double()
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in WORKLOADS[name].shapes]
    label = torch.randint(classes, (count,))
    loss = torch.nn.functional.cross_entropy(module(*inputs), label)
    loss.backward()

    path = PEERS / f"{name}.well"
    graph = elaborate_train(check(path.read_text(), str(path)), name)
    arrays = [x.numpy() for x in (*inputs, label)]
    given = {v.name: a for v, a in zip(graph.inputs, arrays, strict=True)}
    held = {n: p.detach().numpy() for n, p in module.named_parameters()}
    held["optimizer.step"] = np.zeros((), np.int64)
    results, new = interpret_step(graph, given, held, precision="f64")
    np.testing.assert_allclose(results["loss"], loss.item(), rtol=1e-12)
    for path, p in module.named_parameters():
        change, expected = new[path] - held[path], -0.01 * p.grad.numpy()
        assert np.abs(change - expected).max() <= 1e-9 * np.abs(expected).max(), path


def test_every_source_is_here() -> None:
    """A new source needs its module above."""
    sources = {path.stem for path in PEERS.glob("*.well")} - {"torch_layers"}
    assert sources == set(WORKLOADS)
