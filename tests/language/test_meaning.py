"""What programs mean: index notation, slices, sizes, names of parameters, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from interpreted_models import build, run_model

from stepwell.frontend import check
from stepwell.ir.diagnostics import UserError

RNG = np.random.default_rng(1)
X = RNG.standard_normal((6, 7))
Y = RNG.standard_normal((6, 7))
IDS = np.array([3, 0, 5, 5], np.int32)


def _windows(x: Any) -> Any:
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3))


FORMULAS: dict[str, Callable[..., Any]] = {
    "[i, j] -> x[j, i]": lambda x, y, ids: x.T,
    "[i, j] -> sum[k] x[i, k] * y[j, k]": lambda x, y, ids: x @ y.T,
    "sum[i, j] x[i, j] * y[i, j] + 1": lambda x, y, ids: np.array((x * y).sum() + 1),
    "[i] -> 2 * -sum[k] x[i, k] / 7": lambda x, y, ids: -2 * x.sum(1) / 7,
    "[i, j] -> mean[di: 3, dj: 3] x[i + di, j + dj]": lambda x, y, ids: _windows(x).mean((2, 3)),
    "[i] -> x[2*i, 3] - x[2*i + 1, 3]": lambda x, y, ids: x[0::2, 3] - x[1::2, 3],
    "[i: 6] -> x[5 - i, 0]": lambda x, y, ids: x[::-1, 0],
    "[i: H] -> x[H - 1 - i, W - 1]": lambda x, y, ids: x[::-1, -1],
    "[i: 12, j: 14] -> x[i // 2, j // 2]": lambda x, y, ids: x.repeat(2, 0).repeat(2, 1),
    "[i: 6, j] -> x[(i + 1) % 6, j]": lambda x, y, ids: np.roll(x, -1, 0),
    "[i: 6, j] -> x[max(i - 1, 0), j]": lambda x, y, ids: x[[0, 0, 1, 2, 3, 4]],
    "[n, d] -> x[ids[n], d]": lambda x, y, ids: x[ids],
    "[n: 4] -> x[ids[n], n]": lambda x, y, ids: x[ids, np.arange(4)],
    "[n: 4] -> x[ids[n] // 2 + 1, n]": lambda x, y, ids: x[ids // 2 + 1, np.arange(4)],
    "[i, j] -> x[i, j] * cast(i, f64) + cast(j, f64) / W": lambda x, y, ids: (
        x * np.arange(6)[:, None] + np.arange(7) / 7
    ),
    "[t] -> sum[k: 3 where t - 2*k >= 0] x[t - 2*k, 0]": lambda x, y, ids: np.array(
        [sum(x[t - 2 * k, 0] for k in range(3) if t >= 2 * k) for t in range(6)]
    ),
    "[t] -> mean[k: 3 where t - k >= 0] x[t - k, 1]": lambda x, y, ids: np.array(
        [np.mean([x[t - k, 1] for k in range(3) if t >= k]) for t in range(6)]
    ),
    "[i] -> max[j where j <= i] x[i, j]": lambda x, y, ids: np.array(
        [x[i, : i + 1].max() for i in range(6)]
    ),
    "[i] -> cast(argmax[j] x[i, j], f64)": lambda x, y, ids: x.argmax(1).astype(float),
    "[i] -> prod[j] x[i, j]": lambda x, y, ids: x.prod(1),
    "[i] -> select(any[j] x[i, j] > 1.5, 1.0, 0.0)": lambda x, y, ids: (
        (x > 1.5).any(1).astype(float)
    ),
    "[i] -> select(all[j] x[i, j] > -2 and x[i, 0] > 0, 1.0, 0.0)": lambda x, y, ids: (
        (x > -2).all(1) & (x[:, 0] > 0)
    ).astype(float),
    "[i, j] -> exp(x[i, j]) * relu(y[i, j]) + abs(x[i, j]) ** 2": lambda x, y, ids: (
        np.exp(x) * np.maximum(y, 0) + np.abs(x) ** 2
    ),
    "[i, j] -> softmax(x)[i, j] - sum(y)": lambda x, y, ids: (
        np.exp(x) / np.exp(x).sum(1, keepdims=True) - y.sum()
    ),
    "[i, j] -> min(x[i, j], y[i, j]) - max(x[i, j], 0)": lambda x, y, ids: (
        np.minimum(x, y) - np.maximum(x, 0)
    ),
    "[i] -> sum[j] select(i == j, -8, 1) * x[i, j]": lambda x, y, ids: (
        x.sum(1) - 9 * np.diagonal(x)
    ),
    "[i, j] -> x[i, j] / sqrt(H/2)": lambda x, y, ids: x / np.sqrt(3),
    "x[1:-1, ::2]": lambda x, y, ids: x[1:-1, ::2],
    "x[-2]": lambda x, y, ids: x[-2],
    "x[..., -1]": lambda x, y, ids: x[..., -1],
    "x[::-1, 2:3]": lambda x, y, ids: x[::-1, 2:3],
    "x[ids]": lambda x, y, ids: x[ids],
    "x[1:, ids][0]": lambda x, y, ids: x[1:, ids][0],
    "x[H // 2:, W - 3]": lambda x, y, ids: x[3:, 4],
    "x[:, 1] @ y": lambda x, y, ids: x[:, 1] @ y,
    "x @ y[0]": lambda x, y, ids: x @ y[0],
    "transpose(x) @ y": lambda x, y, ids: x.T @ y,
    "concat(split(x, [2, 4], axis: 0), axis: 0)": lambda x, y, ids: x,
    "x |> relu |> sum(axis: 0)": lambda x, y, ids: np.maximum(x, 0).sum(0),
    "reshape(x, [3, -1])": lambda x, y, ids: x.reshape(3, -1),
    "x - -1": lambda x, y, ids: x + 1,
    "-x ** 2": lambda x, y, ids: -(x**2),
    "x ** 3 + y ** 4 + x ** 1": lambda x, y, ids: x**3 + y**4 + x,
    "[i] -> (sum[j] x[i, j]) ** 2": lambda x, y, ids: x.sum(1) ** 2,
    "[i: 3] -> cast(i, f64) * 2": lambda x, y, ids: np.arange(3.0) * 2,
    "if H > 3 { x } else { y }": lambda x, y, ids: x,
    "[1, 2, 3][1] * x": lambda x, y, ids: 2 * x,
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_expression(formula: str) -> None:
    source = f"model m(x: f64[6, 7], y: f64[6, 7], ids: i32[4]) {{ {_sized(formula)} }}"
    found = run_model(source, X, Y, IDS)
    expected = FORMULAS[formula](X, Y, IDS)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def _sized(formula: str) -> str:
    """H and W as the sizes of x."""
    return f"let H = size(x, 0); let W = size(x, 1); {formula}"


SYMBOLIC = {k: v for k, v in FORMULAS.items() if not k.startswith(("[i: 6", "[i: 12", "if", "[1"))}


@pytest.mark.parametrize("formula", [f for f in SYMBOLIC if "6" not in f and "W -" not in f])
def test_expression_with_symbolic_sizes(formula: str) -> None:
    source = f"model m(x: f64[H, W], y: f64[H, W], ids: i32[M]) {{ {formula} }}"
    try:
        found = run_model(source, X, Y, IDS)
    except UserError as error:
        codes = {d.code for d in error.diagnostics}
        assert codes <= {"SW0201", "SW0203", "SW0601", "SW0602", "SW0608", "SW0221"}, str(error)
        return
    np.testing.assert_allclose(found, SYMBOLIC[formula](X, Y, IDS), rtol=1e-12, atol=1e-12)


def test_halves_by_an_exact_quotient() -> None:
    source = """
    model m(x: f64[T, D]) -> f64[T, D/2] { [t, d: D/2] -> x[t, d + D/2] * x[t, d] }"""
    x = RNG.standard_normal((3, 8))
    np.testing.assert_allclose(run_model(source, x), x[:, 4:] * x[:, :4])
    rules = {(str(c.left), c.relation, str(c.right)) for c in build(source, "m").constraints}
    assert rules == {("D", "%", "2")}


def _parameters(source: str, model: str = "m", **statics: Any) -> list[str]:
    return [p.path for p in build(source, model, **statics).parameters]


NAMING = """
use nn
layer pair(x: f32[N, 4]) -> f32[N, 4] {
    let up = nn.dense(x, units: 8, bias: false)
    relu(up) |> nn.dense(units: 4, name: "down", bias: false)
}
"""


def test_a_layer_is_named_by_name_let_or_itself() -> None:
    body = """
    model m(x: f32[N, 4]) -> f32[N, 4] {
        let h = pair(x)
        let g = pair(pair(h))
        pair(g, name: "last")
    }"""
    paths = _parameters(NAMING + body)
    assert paths[0::2] == [f"{p}.up.weight" for p in ("h", "pair", "pair_2", "last")]
    assert paths[1::2] == [f"{p}.down.weight" for p in ("h", "pair", "pair_2", "last")]


def test_turns_of_repeat_follow_the_name() -> None:
    body = """
    model m(x: f32[N, 4]) -> f32[N, 4] {
        let h = x
        repeat 2 as i { h = pair(h) |> nn.dense(units: 4, bias: false) }
        repeat 1 { h = nn.dense(h, units: 4, bias: false) }
        h
    }"""
    assert _parameters(NAMING + body) == [
        *("pair.0.up.weight", "pair.0.down.weight", "dense.0.weight"),
        *("pair.1.up.weight", "pair.1.down.weight", "dense.1.weight"),
        "dense_2.0.weight",
    ]


def test_the_only_model_called_keeps_its_paths() -> None:
    body = """
    model inner(x: f32[N, 4]) -> f32[N, 4] { pair(x) }
    model m(x: f32[N, 4]) -> f32 { mean(inner(x) + inner(2 * x)) }
    model both(x: f32[N, 4]) -> f32[N, 4] { inner(x) |> nn.dense(units: 4, bias: false) }
    """
    assert _parameters(NAMING + body) == ["pair.up.weight", "pair.down.weight"]
    assert _parameters(NAMING + body, "both") == [
        *("inner.pair.up.weight", "inner.pair.down.weight", "dense.weight")
    ]


def test_statics_of_a_model() -> None:
    source = """
    model m(x: f32[N, D], heads: int = 4, twice: bool = false) -> f32[N, heads, D/heads] {
        let y = reshape(x, [N, heads, D/heads])
        if twice { 2 * y } else { y }
    }"""
    graph = build(source, "m", heads=2)
    assert str(graph.results[0][1].type) == "f32[N, 2, D // 2]"
    (rule,) = graph.constraints
    assert (str(rule.left), rule.relation, rule.right) == ("D", "%", 2)
    assert len(build(source, "m", twice=True).ops) > len(graph.ops)


def test_a_parameter_takes_its_size_from_its_use() -> None:
    source = """
    model m(x: f32[N, 784]) -> f32[N, 10] {
        param w: f32[K, 10]
        x @ w
    }"""
    assert str(build(source, "m").parameters[0].value.type) == "f32[784, 10]"


def test_initializers_are_kept_as_text() -> None:
    source = """
    model m(x: f32[N, 4]) -> f32[N, 4] {
        param a: f32[4, 4]
        param b: f32[4] = 0.5
        param c: f32[4, 4] = normal(0.02)
        param d: f32[4] = zeros
        param e: f32[4, 4] = orthogonal(gain: sqrt(2))
        x @ a @ c @ e + b + d
    }"""
    texts = [p.initializer for p in build(source, "m").parameters]
    assert texts == [
        "glorot_uniform", "constant(0.5)", "normal(0.02)", "zeros", "orthogonal(1.4142135623730951)"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        ("he_norml", "did you mean `he_normal`?"),
        ("xavier", "truncated_normal(std)"),
        ("normal", "write `normal(std)`"),
        ("uniform(0, 1)", "write `uniform(bound)`"),
        ("zeros(1)", "`zeros` takes no number"),
        ("orthogonal(w)", "a number known at compile time"),
    ],
)
def test_initializers_that_are_none(initializer: str, message: str) -> None:
    source = f"model m(w: f32[N, 4]) -> f32[N, 4] {{ param a: f32[4, 4] = {initializer}\n w @ a }}"
    with pytest.raises(UserError) as caught:
        check(source, "m.well")
    assert "SW0407" in str(caught.value)
    assert message in str(caught.value)


DTYPES = ("f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool")


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_passes_through(dtype: str) -> None:
    body = "x" if dtype == "bool" else "relu(x) + 1 - x * 2"
    source = f"model m(x: {dtype}[N]) -> {dtype}[N] {{ {body} }}"
    assert build(source, "m").results[0][1].type.dtype.name == dtype


def test_outputs_have_the_declared_names() -> None:
    source = "model m(x: f32[N]) -> (low: f32, f32) { (min(x), max(x)) }"
    assert [name for name, _ in build(source, "m").results] == ["low", "out1"]


def test_inf_and_pi() -> None:
    source = """
        fn turned(x: f64[..S]) -> f64[..S] { sin(pi * x / 2) }
        model m(x: f64[N, N]) -> (f64[N, N], f64[N, N], f64[N, N]) {
            let causal = softmax([i, j] -> select(j <= i, x[i, j], -inf))
            let pi = 3
            (causal, turned(x), min(x * pi, inf * 2))
        }
    """
    x = X[:, :6]
    weight = np.tril(np.exp(x))
    causal, turned, thrice = run_model(source, x)
    np.testing.assert_allclose(causal, weight / weight.sum(1, keepdims=True))
    np.testing.assert_allclose(turned, np.sin(np.pi / 2 * x))
    np.testing.assert_allclose(thrice, 3 * x)
    for wrong in ("x[0:inf]", "iota([N]) + inf", "cast(inf, i32)", "zeros([inf])"):
        with pytest.raises(UserError):
            check(f"model m(x: f32[N]) {{ {wrong} }}", "m.well")
