"""Initialisers: their distributions, and that a seed and a path decide."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stepwell.frontend.initializers import NAMES
from stepwell.initializers import INITIALIZERS, fans, initialize
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import BF16, F32, F64
from stepwell.ir.philox import words
from stepwell.ir.types import TensorType
from stepwell.random_stream import fnv1a

WIDE = TensorType(F64, (300, 200))


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [
        ("normal(0.02)", 0.02),
        ("normal(std: 0.02)", 0.02),
        ("normal", 1.0),
        ("uniform(0.3)", 0.3 / 3**0.5),
        ("truncated_normal(0.5)", 0.5 * 0.87962566),  # the deviation within (-2, 2)
        ("glorot_uniform", (2 / 500) ** 0.5),
        ("glorot_normal", (2 / 500) ** 0.5),
        ("he_uniform", (2 / 300) ** 0.5),
        ("he_normal", (2 / 300) ** 0.5),
        ("he_normal(3)", 3 * (2 / 300) ** 0.5),
        ("lecun_normal", (1 / 300) ** 0.5),
    ],
)
def test_mean_and_deviation(initializer: str, deviation: float) -> None:
    drawn = initialize(initializer, WIDE, "w")
    assert drawn.shape == (300, 200)
    assert abs(drawn.mean()) < 0.03 * deviation
    assert drawn.std() == pytest.approx(deviation, rel=0.03)


@pytest.mark.parametrize(
    ("initializer", "value"), [("zeros", 0), ("ones", 1), ("constant(2.5)", 2.5)]
)
def test_constants(initializer: str, value: float) -> None:
    np.testing.assert_array_equal(initialize(initializer, WIDE, "w"), np.full((300, 200), value))


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (16, 3, 3, 3), (7,)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = initialize("orthogonal", TensorType(F64, shape), "w").reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-12)


def test_bounds() -> None:
    assert abs(initialize("uniform(0.3)", WIDE, "w")).max() <= 0.3
    assert abs(initialize("glorot_uniform", WIDE, "w")).max() <= (6 / 500) ** 0.5

    assert abs(initialize("truncated_normal(0.5)", WIDE, "w")).max() <= 1.0


def test_the_language_and_the_driver_know_the_same_names() -> None:
    assert set(NAMES) == set(INITIALIZERS)


def test_numbers_are_those_of_philox() -> None:
    """What a program in C would draw: words of the block, the hash of the path, and the seed."""
    drawn = initialize("uniform(1)", TensorType(F64, (9,)), "fc.weight", seed=7)
    place = 0x79FB28A75603C7A0
    expected = [(word + 0.5) / 2**31 - 1 for block in range(3) for word in words(block, place, 7)]
    np.testing.assert_array_equal(drawn, expected[:9])


def test_the_hash_is_fnv1a() -> None:
    assert fnv1a(b"") == 0xCBF29CE484222325
    assert fnv1a(b"foobar") == 0x85944171F73967E8  # of its authors' test suite


@pytest.mark.parametrize("name", ["uniform(2)", "normal(2)", "truncated_normal(2)"])
def test_distributions(name: str) -> None:
    """Kolmogorov and Smirnov's distance to the distribution function: under the 0.1 % point."""
    drawn = np.sort(initialize(name, WIDE, "w").reshape(-1)) / 2
    expected = {"u": stats.uniform(-1, 2), "n": stats.norm(), "t": stats.truncnorm(-2, 2)}[name[0]]
    assert stats.kstest(drawn, expected.cdf).statistic < 1.95 / len(drawn) ** 0.5
    assert abs(np.corrcoef(initialize(name, WIDE, "w").T)[0, 1:]).max() < 0.3


def test_fans() -> None:
    assert fans((784, 10)) == (784, 10)
    assert fans((32, 16, 3, 5)) == (240, 480)
    assert fans((9,)) == (9, 9)
    assert fans(()) == (1, 1)


def test_the_seed_and_the_path_decide() -> None:
    first = initialize("normal", WIDE, "a.weight", seed=1)
    np.testing.assert_array_equal(first, initialize("normal", WIDE, "a.weight", seed=1))
    for path, seed in [("a.weight", 2), ("b.weight", 1)]:
        assert not np.array_equal(first, initialize("normal", WIDE, path, seed))


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1), (2, 3, 4)])
def test_every_shape(name: str, shape: tuple[int, ...]) -> None:
    drawn = initialize(name, TensorType(BF16, shape), "w")
    assert drawn.shape == shape
    assert drawn.dtype == BF16.numpy


@pytest.mark.parametrize("wrong", ["glorot_unifrom", "normal(x)", "normal(1", ""])
def test_unknown_initialisers(wrong: str) -> None:
    with pytest.raises(InputError, match=r"parameter `fc\.w`"):
        initialize(wrong, TensorType(F32, (2,)), "fc.w")


def test_did_you_mean() -> None:
    with pytest.raises(InputError, match="did you mean `glorot_uniform`"):
        initialize("glorot_unifrom", TensorType(F32, (2,)), "fc.w")
