"""The networks of `examples/` against PyTorch in float64, compiled cold and from the cache.

The references draw their weights under the names that the language gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_networks import Weights, bert_layer, mobilenetv2, resnet18
from torch import Tensor

import stepwell as sw

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Network:
    """A file of `examples/`, its reference, an input's shape, how many numbers are its parameters.

    The last is the published count, with the mean and variance of batch normalisation.
    """

    file: str
    model: str
    reference: Callable[[Weights, Tensor], Tensor]
    shape: tuple[int, ...]
    size: int


NETWORKS = [
    Network("resnet18.well", "resnet18", resnet18, (1, 3, 224, 224), 11_689_512 + 9_600),
    Network("mobilenetv2.well", "mobilenetv2", mobilenetv2, (1, 3, 224, 224), 3_504_872 + 34_112),
    Network("transformer.well", "bert_layer", bert_layer, (1, 128, 768), 7_087_872),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.model)
def test_network(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values as PyTorch in float64; from the cache the same bits, nothing anew."""
    monkeypatch.setenv("STEPWELL_CACHE_DIR", str(tmp_path))
    weights = Weights()
    x = np.random.default_rng(0).standard_normal(network.shape).astype(np.float32)
    with torch.no_grad():
        expected = network.reference(weights, torch.from_numpy(x).double()).numpy()
    assert sum(value.size for value in weights.drawn.values()) == network.size

    def compiled() -> sw.Model:
        return sw.compile(EXAMPLES / network.file, model=network.model, weights=weights.drawn)

    model = compiled()
    assert set(model.parameters) == set(weights.drawn)
    actual = model(x)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()

    kept = sorted(path.name for path in tmp_path.rglob("*"))
    np.testing.assert_array_equal(compiled()(x), actual)
    assert kept and sorted(path.name for path in tmp_path.rglob("*")) == kept
