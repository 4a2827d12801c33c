"""Every model of `examples/gallery.well` against NumPy written in another way (einsum, loops)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

import stepwell as sw

GALLERY = Path(__file__).parents[2] / "examples" / "gallery.well"

Array = np.ndarray


def _floats(seed: int, *shapes: Sequence[int]) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def _integers(seed: int, high: int, shape: Sequence[int]) -> Array:
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.int32)


def _blur(x: Array) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3)).mean(axis=(2, 3))


def _heat_step(u: Array, rate: Array) -> Array:
    edge = np.pad(u, 1, mode="edge")
    around = edge[:-2, 1:-1] + edge[2:, 1:-1] + edge[1:-1, :-2] + edge[1:-1, 2:]
    return u + rate * (around - 4 * u)


def _life(cell: Array) -> Array:
    edge = np.pad(cell, 1)
    h, w = cell.shape
    around = sum(edge[i : i + h, j : j + w] for i in range(3) for j in range(3)) - cell
    return np.where((around == 3) | ((cell == 1) & (around == 2)), 1, 0).astype(np.int32)


def _causal_convolution(x: Array, w: Array) -> Array:
    steps = x.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (4, 0)))
    parts = [
        np.einsum("oc,nct->not", w[:, :, k], padded[:, :, 4 - 2 * k : 4 - 2 * k + steps])
        for k in range(3)
    ]
    return sum(parts)


def _strided_convolution(x: Array, w: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    return np.einsum("ncijpq,ocpq->noij", windows, w)


def _depthwise(x: Array, w: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, 5, axis=2)
    return np.einsum("nctk,ck->nct", windows, w)


def _pareto_front(p: Array) -> Array:
    beaten = [any((q >= r).all() and (q > r).any() for q in p) for r in p]
    return ~np.array(beaten)


def _with_positions(x: Array) -> Array:
    _, steps, width = x.shape
    half = width // 2
    angle = np.outer(np.arange(steps), 10000.0 ** (-np.arange(half) / half))
    return x + np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def _standardize(x: Array) -> Array:
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


def _shortest_paths(a: Array) -> Array:
    return np.min(a[:, :, None] + a[None, :, :], axis=1)


Case = tuple[list[Array], Callable[..., Array]]

CASES: dict[str, Case] = {
    "matrix_product": (_floats(0, (7, 19), (19, 33)), lambda a, b: a @ b),
    "batched_product": (
        _floats(1, (3, 5, 17), (3, 9, 17)),
        lambda a, b: a @ b.transpose(0, 2, 1),
    ),
    "contraction": (
        _floats(2, (4, 5, 6), (6, 5, 7)),
        lambda a, b: np.einsum("ikl,lkj->ij", a, b),
    ),
    "bilinear": (
        _floats(3, (11, 4), (4, 6), (11, 6)),
        lambda x, w, y: np.einsum("na,ab,nb->n", x, w, y),
    ),
    "outer": (_floats(4, (9,), (20,)), np.outer),
    "trace": (_floats(5, (13, 13)), np.trace),
    "shortest_paths": (_floats(6, (12, 12)), _shortest_paths),
    "blur": (_floats(7, (13, 21)), _blur),
    "heat_step": ([*_floats(8, (10, 18)), np.array(0.2, np.float32)], _heat_step),
    "life": ([_integers(9, 2, (14, 19))], _life),
    "causal_convolution": (_floats(10, (2, 3, 17), (4, 3, 3)), _causal_convolution),
    "strided_convolution": (_floats(11, (2, 3, 9, 13), (5, 3, 3, 3)), _strided_convolution),
    "depthwise": (_floats(12, (2, 6, 23), (6, 5)), _depthwise),
    "distances": (_floats(13, (6, 10), (8, 10)), cdist),
    "nearest": (
        _floats(14, (15, 4), (7, 4)),
        lambda x, y: cdist(x, y, "cityblock").argmin(axis=1),
    ),
    "pareto_front": (_floats(15, (25, 3)), _pareto_front),
    "running_total": (_floats(16, (4, 18)), lambda x: np.cumsum(x, axis=1)),
    "lower_triangle": (_floats(17, (9, 9)), np.tril),
    "with_positions": (_floats(18, (2, 11, 16)), _with_positions),
    "embedding_bag": (
        [*_floats(19, (30, 8)), _integers(19, 30, (5, 6))],
        lambda table, ids: table[ids].mean(axis=1),
    ),
    "histogram": (
        [_integers(20, 10, (57,))],
        lambda label: np.bincount(label, minlength=10).astype(np.int32),
    ),
    "from_roots": (
        _floats(21, (12,), (4,)),
        lambda x, root: np.polyval(np.poly(root), x),
    ),
    "log_sum_exp": (
        [100 * x for x in _floats(22, (6, 27))],
        lambda x: logsumexp(x, axis=1),
    ),
    "standardize": (_floats(23, (5, 31)), _standardize),
}


def _wide(x: Array) -> Array:
    return x.astype(np.float64) if x.dtype == np.float32 else x


def test_every_model_of_the_gallery_has_a_case() -> None:
    models = re.findall(r"^model (\w+)", GALLERY.read_text(), re.MULTILINE)
    assert sorted(models) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_gallery(name: str) -> None:
    inputs, reference = CASES[name]
    expected = np.asarray(reference(*map(_wide, inputs)))
    actual = sw.compile(GALLERY, model=name)(*inputs)
    assert actual.shape == expected.shape
    if expected.dtype.kind == "f":
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)
    else:
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
