"""The distributions of random numbers from native code, with fixed seeds.

Each bound is one that a right generator passes with a chance of a million to one or better.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

import stepwell as sw
from stepwell.ir.graph.core import Array

COUNT = 1 << 18
SOURCE = f"""\
model draws(p: f32[1]) -> (uniform: f32[{COUNT}], wide: f64[{COUNT}], normal: f32[{COUNT}],
                           normal_wide: f64[{COUNT}], coin: f32[{COUNT}], again: f32[{COUNT}]) {{
    (uniform([{COUNT}]), uniform([{COUNT}], dtype: f64), normal([{COUNT}]),
     normal([{COUNT}], dtype: f64), bernoulli([{COUNT}], 0.3), uniform([{COUNT}]))
}}
"""
SIGMAS = 5.0  # deviations from what is expected


@cache
def draws(seed: int) -> dict[str, Array]:
    outputs = _model()(np.zeros(1, np.float32), seed=seed)
    return outputs._asdict()  # type: ignore[no-any-return]


@cache
def _model() -> sw.Model:
    return sw.compile(SOURCE)


SEEDS = [0, 1, -1, 1 << 40]
DISTRIBUTIONS = {
    "uniform": stats.uniform(), "wide": stats.uniform(),
    "normal": stats.norm(), "normal_wide": stats.norm(),
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name: str, seed: int) -> None:
    drawn, expected = draws(seed)[name].astype(np.float64), DISTRIBUTIONS[name]
    assert abs(drawn.mean() - expected.mean()) < SIGMAS * expected.std() / COUNT**0.5
    kurtosis = expected.stats("k") + 2
    assert abs(drawn.var() / expected.var() - 1) < SIGMAS * (kurtosis / COUNT) ** 0.5
    assert stats.kstest(drawn, expected.cdf).pvalue > 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_ranges(seed: int) -> None:
    found = draws(seed)
    for name in ("uniform", "wide"):
        assert 0 <= found[name].min() < 1e-4
        assert 1 - 1e-4 < found[name].max() < 1
    assert 4 < np.abs(found["normal"]).max() < 5.8  # sqrt(2 * 24 * ln 2)
    assert set(np.unique(found["coin"])) == {0, 1}
    assert abs(found["coin"].mean() - 0.3) < SIGMAS * (0.21 / COUNT) ** 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_every_byte_is_even(seed: int) -> None:
    """Chi-square of each byte of the 24 bits of f32, and of the upper six bytes in f64."""
    narrow = (draws(seed)["uniform"] * 2.0**24).astype(np.uint64)
    wide = (draws(seed)["wide"] * 2.0**53).astype(np.uint64)
    for bits, shifts in ((narrow, (0, 8, 16)), (wide, (5, 13, 21, 29, 37, 45))):
        for shift in shifts:
            counts = np.bincount(((bits >> np.uint64(shift)) & np.uint64(255)).astype(np.int64))
            assert stats.chisquare(counts).pvalue > 1e-6


def test_nothing_is_correlated() -> None:
    """Neighbours, calls at different places, in different types, runs with different seeds."""
    first, second = draws(0), draws(1)
    pairs = [(first["uniform"][:-lag], first["uniform"][lag:]) for lag in (1, 2, 3, 4, 8, 16, 64)]
    pairs += [(first["uniform"], first["again"]), (first["uniform"], first["wide"])]
    pairs += [(first["normal"], first["normal_wide"]), (first["uniform"], first["coin"])]
    pairs += [(first[name], second[name]) for name in first]
    for x, y in pairs:
        assert abs(np.corrcoef(x, y)[0, 1]) < SIGMAS / len(x) ** 0.5
        assert abs(np.corrcoef(x > np.median(x), y > np.median(y))[0, 1]) < SIGMAS / len(x) ** 0.5


def test_no_pair_is_drawn_too_often() -> None:
    """Collisions of 53-bit numbers: none in 4 * 2^18 draws of distinct counters."""
    together = np.concatenate([draws(seed)["wide"] for seed in SEEDS])
    assert len(np.unique(together)) == len(together)
