"""Models whose parts do not depend on each other run these side by side, and compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import stepwell as sw

BRANCHES = Path(__file__).parent / "branches.well"
Arrays = Mapping[str, np.ndarray]


def _outputs(name: str, *inputs: np.ndarray, together: int) -> tuple[np.ndarray, Arrays]:
    """The result, the same bits for any number of threads; the parameters."""
    found = []
    for threads in (1, 2, 3):
        model = sw.compile(BRANCHES, model=name, seed=0, threads=threads)
        assert sum(kernel.beside for kernel in model.kernels) == together
        found.append(model(*inputs))
    assert all(result.tobytes() == found[0].tobytes() for result in found)
    return found[0], model.parameters


def _drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def test_two_towers() -> None:
    user, item = _drawn(1, 256), _drawn(1, 256)[:, ::-1].copy()
    score, p = _outputs("two_towers", user, item, together=2)
    ends = []
    for x, name in ((user, "u"), (item, "i")):
        for layer in ("dense", "dense_2"):
            x = x @ p[f"{name}.{layer}.weight"] + p[f"{name}.{layer}.bias"]
            x = np.maximum(x, 0)
        ends.append(np.tanh(x @ p[f"{name}.dense_3.weight"] + p[f"{name}.dense_3.bias"]))
    np.testing.assert_allclose(score, (ends[0] * ends[1]).sum(-1), rtol=1e-5, atol=1e-5)


def test_both_ways() -> None:
    """The products of both are in step, each after a concat that is too short to be beside any."""
    x = _drawn(8, 1, 256)
    found, p = _outputs("both_ways", x, together=8)
    ends = []
    for steps, name in ((x, "f"), (x[::-1], "b")):
        h = np.zeros((1, 256), np.float32)
        for step in steps:
            h = np.tanh(np.concatenate([step, h], axis=-1) @ p[f"{name}.weight"])
        ends.append(h)
    np.testing.assert_allclose(found, np.concatenate(ends, axis=-1), rtol=1e-5, atol=1e-5)
