"""Random numbers of compiled models: the seed as an argument, the same bits whatever runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stepwell as sw

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
        run("run", "noise.well", "--input", "x=x.npy", "--check", *extra)
        for extra in ((), ("--seed", "3"), ("--input", "seed=3"))
    ]
    assert [done.code for done in shown] == [0, 0, 0]
    assert shown[0].out != shown[1].out == shown[2].out
