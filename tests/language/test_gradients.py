"""Gradients of functions against closed forms; what regions capture; errors in their places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from interpreted_models import build, run_model

from stepwell.frontend import check
from stepwell.ir.diagnostics import UserError

X = np.random.default_rng(0).standard_normal((4, 3))
W = np.random.default_rng(1).standard_normal((3, 3))
ENERGY = "fn energy(x: f64[..S]) -> f64 { sum(x ** 4) }\n"


def _close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_grad_and_value_and_grad() -> None:
    source = ENERGY + "model m(x: f64[N, 3]) { (grad(energy, wrt: x)(x), energy(x)) }"
    by_x, _ = run_model(source, X)
    _close(by_x, 4 * X**3)
    value, by_x = run_model(ENERGY + "model m(x: f64[N, 3]) { value_and_grad(energy)(x) }", X)
    _close(value, (X**4).sum())
    _close(by_x, 4 * X**3)


def test_several_arguments_and_results() -> None:
    source = """
    fn f(x: f64[N, 3], k: i64[], y: f64[N, 3]) -> (f64, f64[N, 3]) {
        (sum(x * y * y) * cast(k, f64), x + y)
    }
    model m(x: f64[N, 3], y: f64[N, 3]) {
        value_and_grad(f, wrt: [y, x])(x, k: cast(2, i64), y: y)
    }"""
    value, extra, by_y, by_x = run_model(source, X, 2 * X)
    _close(value, 8 * (X**3).sum())
    _close(extra, 3 * X)
    _close(by_y, 4 * X * 2 * X)
    _close(by_x, 8 * X * X)


def test_one_tensor_as_two_arguments() -> None:
    source = """fn f(x: f64[N, 3], y: f64[N, 3]) -> f64 { sum(x * x * y) }
    model m(x: f64[N, 3]) { grad(f, wrt: [x, y])(x, x) }"""
    by_x, by_y = run_model(source, X)
    _close(by_x, 2 * X * X)
    _close(by_y, X * X)


def test_any_order() -> None:
    source = """fn f(x: f64[]) -> f64 { x ** 3 * sin(x) }
    model m(x: f64[]) { (grad(f)(x), grad(grad(f))(x), grad(grad(grad(f)))(x)) }"""
    x = 0.7
    s, c = np.sin(x), np.cos(x)
    first, second, third = run_model(source, np.array(x))
    _close(first, 3 * x**2 * s + x**3 * c)
    _close(second, 6 * x * s + 6 * x**2 * c - x**3 * s)
    _close(third, 6 * s + 18 * x * c - 9 * x**2 * s - x**3 * c)


def test_functions_that_the_compiler_knows_and_functions_as_arguments() -> None:
    source = """fn slope(f: fn, x: f64[]) -> f64 { grad(f)(x) }
    fn twice(f: fn, x: f64[]) -> f64 { f(f(x)) }
    model m(x: f64[]) { (slope(exp, x), twice(grad(cos), x), slope(grad(tanh), x)) }"""
    slope, twice, second = run_model(source, np.array(0.3))
    t = np.tanh(0.3)
    _close([slope, twice, second], [np.exp(0.3), -np.sin(-np.sin(0.3)), -2 * t * (1 - t * t)])


LAYER = """
layer inner(x: f64[N, D]) -> f64[N, D] { param weight: f64[D, D]
    tanh(x @ weight) }
layer score(x: f64[N, D]) -> f64 {
    param scale: f64[D] = ones
    sum(inner(x) * scale)
}
"""


@pytest.mark.parametrize(
    ("wrt", "names"),
    [
        ("params", ["scale", "weight"]),
        ('"weight"', ["weight"]),
        ('"inner"', ["weight"]),
        ('["inner.weight", "scale"]', ["weight", "scale"]),
        ("[params, x]", ["scale", "weight", "x"]),
    ],
)
def test_gradients_by_parameters(wrt: str, names: list[str]) -> None:
    scale = np.array([1.0, -2.0, 0.5])
    source = LAYER + f"model m(x: f64[N, 3]) {{ grad(score, wrt: {wrt})(x) }}"
    found = run_model(source, X, score_scale=scale, score_inner_weight=W)
    h = np.tanh(X @ W)
    back = (1 - h * h) * scale
    expected = {"scale": h.sum(0), "weight": X.T @ back, "x": back @ W.T}
    for array, name in zip(found if len(names) > 1 else [found], names, strict=True):
        _close(array, expected[name])


def test_checkpoint_gives_the_same_and_leaves_paths_alone() -> None:
    body = "let deep = {}(x)\nsum(deep * deep)"
    texts = []
    for call in ("inner", "checkpoint(inner)"):
        source = LAYER + f"layer top(x: f64[N, D]) {{ {body.format(call)} }}\n"
        source += "model m(x: f64[N, 3]) { value_and_grad(top, wrt: [x, params])(x) }"
        texts.append(run_model(source, X, top_deep_weight=W))
    for plain, again in zip(*texts, strict=True):
        np.testing.assert_array_equal(plain, again)


def test_stop_gradient() -> None:
    source = """fn f(x: f64[N, 3]) -> f64 { sum(x * stop_gradient(x * x)) }
    model m(x: f64[N, 3]) { grad(f)(x) }"""
    _close(run_model(source, X), X * X)


OWN = """
fn clipped(x: f64[..S], low: f64[], scale: int = 3) -> (y: f64[..S], count: i64) {
    let inside = x > low
    (select(inside, x, low), sum(cast(inside, i64)))
} gradient(dy) {
    (scale * dy * y, sum(dy))
}
"""


def test_a_gradient_of_ones_own() -> None:
    """It is taken as it is written, it sees arguments, static ones too, and named results."""
    source = (
        OWN
        + """
    fn f(x: f64[N, 3], low: f64[]) -> f64 {
        let y, count = clipped(x, low)
        sum(y * y) + cast(count, f64)
    }
    model m(x: f64[N, 3], low: f64[]) { value_and_grad(f, wrt: [x, low])(x, low) }"""
    )
    value, by_x, by_low = run_model(source, X, np.array(0.1))
    y = np.maximum(X, 0.1)
    _close(value, (y * y).sum() + (X > 0.1).sum())
    _close(by_x, 3 * 2 * y * y)
    _close(by_low, (2 * y).sum())


def test_a_gradient_of_ones_own_is_differentiated_again() -> None:
    source = """fn f(x: f64[]) -> (y: f64) { x * x } gradient(dy) { dy * sin(x) }
    model m(x: f64[]) { (grad(f)(x), grad(grad(f))(x)) }"""
    _close(run_model(source, np.array(0.4)), (np.sin(0.4), np.cos(0.4)))


def test_states_leave_regions() -> None:
    """A state that a checkpointed layer updates inside a gradient is updated by the graph."""
    source = """
    layer counted(x: f64[N, 3]) -> f64[N, 3] { state calls: i64 = zeros
        calls = calls + 1
        x * x }
    layer top(x: f64[N, 3]) -> f64 { sum(checkpoint(counted)(x)) }
    model m(x: f64[N, 3]) { grad(top)(x) }"""
    graph = build(source, "m")
    ((held, new),) = graph.updates
    assert held.name == "top.counted.calls"
    assert new in graph.ops[-1].results


@pytest.mark.parametrize(
    ("source", "code", "text"),
    [
        ("grad(f, wrt: x)(x, 2)", "SW0306", "2"),
        ("grad(f, wrt: z)(x)", "SW0702", "z"),
        ('grad(f, wrt: "weight")(x)', "SW0702", '"weight"'),
        ("grad(f)()", "SW0702", "grad(f)"),
        ("grad(f)(cast(x, i64))", "SW0703", "cast(x, i64)"),
        ("grad(3)(x)", "SW0310", "3"),
        ("grad(relu)(x)", "SW0701", "grad(relu)(x)"),
        ("[n, k] -> grad(f)(x[n, k])", "SW0604", "x[n, k]"),
        ("[n, k] -> own(x[n, k])", "SW0604", "own(x[n, k])"),
        ("grad(f, wrt: 3)(x)", "SW0702", "3"),
        ("grad(above)(x)", "SW0707", "grad(above)(x)"),
    ],
)
def test_mistake(source: str, code: str, text: str) -> None:
    """Each at its place in the source."""
    head = """fn f(x: f64[N, 3]) -> f64 { sum(x) }
fn own(x: f64[..S]) -> f64[..S] { x } gradient(d) { d }
fn above(x: f64[N, 3]) -> f64 { sum(cast(exp(x) > 1, f64)) * 2 }
"""
    with pytest.raises(UserError) as caught:
        check(f"{head}model m(x: f64[N, 3]) {{\n{source}\n}}", "m.well")
    (fault,) = caught.value.diagnostics
    assert fault.code == code
    span = fault.span
    assert span.line == 5
    assert source[span.column - 1 : span.end_column - 1].startswith(text)
