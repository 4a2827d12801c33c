"""Random numbers of compiled models: the seed as an argument, the same bits whatever runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stepwell as sw
from stepwell.ir.philox import philox

from .conftest import Run

SOURCE = """\
model noise(x: f32[N, 7]) -> (u: f32[N, 7], v: f64[N, 7], b: f32[N, 7], z: f32[N, 7]) {
    (uniform([N, 7]) + x, uniform([N, 7], dtype: f64), bernoulli([N, 7], 0.3), normal([N, 7]))
}
"""
X = np.zeros((50, 7), np.float32)


def test_the_seed_may_be_left_out() -> None:
    model = sw.compile(SOURCE)
    assert str(model.signature.inputs[-1]) == "seed: i64"
    first = model(X)
    for other in (model(X, seed=0), model(X, 0), model(x=X)):
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.u, model(X, seed=1).u)
    with pytest.raises(sw.InputError, match="seed"):
        model(X, seed=0.5)


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_the_same_bits_for_any_threads_and_vectors(level: str) -> None:
    x = np.zeros((3001, 7), np.float32)
    expected = sw.compile(SOURCE, threads=1)(x, seed=5)
    for threads in (1, 3):
        try:
            found = sw.compile(SOURCE, target_cpu=level, threads=threads)(x, seed=5)
        except sw.InputError as error:
            pytest.skip(str(error))
        for name in ("u", "v", "b"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
        # Without fused multiply-adds logarithm and cosine round otherwise.
        np.testing.assert_allclose(found.z, expected.z, rtol=1e-5, atol=1e-6)


def test_the_command_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "noise.well").write_text(SOURCE)
    np.save(tmp_path / "x.npy", X)
    shown = [
        run("run", "noise.well", "--input", "x=x.npy", *extra)
        for extra in ((), ("--seed", "3"), ("--input", "seed=3"))
    ]
    assert run("run", "noise.well", "--input", "x=x.npy", "--check").code == 0
    assert [done.code for done in shown] == [0, 0, 0]
    assert shown[0].out != shown[1].out == shown[2].out


# Training


DROP = """\
model drop(x: f32[3000]) -> f32[] {
    param w: f32[3000] = ones
    sum(dropout(w, 0.3) * x)
}
train drop(x: f32[3000]) {
    loss = drop(x)
    optimizer = sgd(lr: 1.0)
}
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_dropout_goes_back_through_its_own_mask(threads: int) -> None:
    trainer = sw.trainer(DROP, seed=11, threads=threads)
    x = np.random.default_rng(0).uniform(1, 2, 3000).astype(np.float32)
    weights, masks = np.ones(3000), []
    for step in range(2):
        bits = philox(np.arange(3000), np.int64((step << 32) + 1), np.int64(11), 0).astype(np.int64)
        kept = (bits + 2**31) < 0.7 * 2**32
        loss = trainer.step(x)["loss"]
        assert loss == pytest.approx(float((weights * kept / 0.7) @ x), rel=1e-5)
        weights = weights - kept / 0.7 * x
        np.testing.assert_allclose(trainer.parameters["w"], weights, rtol=1e-5, atol=1e-5)
        masks.append(kept)
    assert abs(np.mean(masks) - 0.7) < 0.02
    assert abs(np.corrcoef(masks)[0, 1]) < 0.06
    evaluated = sw.compile(DROP, weights={"w": trainer.parameters["w"]})(x)
    assert evaluated == pytest.approx(float(weights @ x), rel=1e-5)


def test_the_mask_is_kept_as_bytes() -> None:
    """Not as the words that it comes from, of four bytes each, nor drawn twice."""
    source = """\
use nn
model net(x: f32[N, 8]) -> f32[N, 3] { nn.dense(dropout(relu(nn.dense(x, units: 16))), units: 3) }
train net(x: f32[N, 8], y: i32[N]) { loss = cross_entropy(net(x), y)\\n optimizer = sgd(lr: 0.1) }
"""
    text = sw.trainer(source.replace("\\n", "; ")).model.stage("graph-opt")
    assert isinstance(text, str)
    kernels = [line for line in text.splitlines() if " = kernel(" in line]
    assert any("%kept" in line.partition(" = ")[0] and "bool[N, 16]" in line for line in kernels)
    assert not any("%philox" in line for line in kernels)
