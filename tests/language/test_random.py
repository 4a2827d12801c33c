"""Random functions: what they draw, from which counter, and where the seed comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from stepwell.frontend import check, elaborate
from stepwell.frontend.entries import Entry
from stepwell.frontend.random_source import RandomSource
from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import I64
from stepwell.ir.graph import Graph, interpret_graph, verify_graph
from stepwell.ir.graph.core import Array
from stepwell.ir.philox import words
from stepwell.ir.types import TensorType


def graph_of(
    body: str, signature: str = "", training: bool = False, result: str = "f32[N, 3]"
) -> Graph:
    program = check(f"model m(x: f32[N, 3]{signature}) -> {result} {{\n{body}\n}}", "m.well")
    entry = Entry(program, program.root, program.root.tree.functions[0], {}, None)
    entry.e.training = training
    assert not entry.faults()
    graph = entry.graph()
    verify_graph(graph)
    return graph


def drawn(body: str, seed: int = 0, x: Any = None, **others: Any) -> Array:
    x = np.ones((5, 3), np.float32) if x is None else x
    (result,) = interpret_graph(graph_of(body, **others), {"x": x, "seed": np.int64(seed)}).values()
    return result


def bits(word: int, place: int, seed: int, count: int = 15) -> Array:
    """The words that `count` elements of the call at a place draw, one by one."""
    found = [words(i, place, seed)[word] for i in range(count)]
    return np.array(found, np.uint64)


def test_uniform_is_the_upper_bits_of_a_word() -> None:
    expected = (((bits(0, 1, 7) + 2**31) % 2**32) >> 8) / 2.0**24
    np.testing.assert_array_equal(drawn("uniform([N, 3])", 7).reshape(-1), expected)


def test_uniform_of_f64_takes_two_words() -> None:
    result = drawn("uniform([N, 3], dtype: f64)", 7, result="f64[N, 3]")
    upper, lower = (((bits(w, 1, 7) + 2**31) % 2**32).astype(np.float64) for w in (0, 1))
    expected = np.floor(upper / 2**5) / 2.0**27 + np.floor(lower / 2**6) / 2.0**53
    np.testing.assert_array_equal(result.reshape(-1), expected)


def test_normal_is_box_muller() -> None:
    u, v = ((((bits(w, 1, 7) + 2**31) % 2**32) >> 8) / 2.0**24 for w in (0, 1))
    expected = 2 + 3 * np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * math.pi * (v - 0.5))
    result = drawn("normal([N, 3], mean: 2, std: 3)", 7).reshape(-1)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("p", [0, 0.25, 0.6, 1])
def test_bernoulli_compares_a_word_with_p(p: float) -> None:
    hit = ((bits(0, 1, 7) + 2**31) % 2**32) < p * 2**32
    np.testing.assert_array_equal(drawn(f"bernoulli([N, 3], {p})", 7).reshape(-1), hit)
    by_tensor = drawn(f"bernoulli([N, 3], full([3], {float(p)}))", 7)
    np.testing.assert_array_equal(by_tensor.reshape(-1), hit)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "f64"])
def test_uniform_stays_below_its_upper_end(dtype: str) -> None:
    text = f"uniform([N, 3], 1, 1.5, dtype: {dtype})"
    result = drawn(text, x=np.ones((3000, 3), np.float32), result=f"{dtype}[N, 3]").astype(float)
    assert result.min() >= 1
    assert result.max() < 1.5
    assert abs(result.mean() - 1.25) < 0.01


def test_every_call_has_a_place_of_its_own() -> None:
    both = drawn("let a = uniform([N, 3])\nlet b = uniform([N, 3])\na - b", 7)
    expected = [((bits(0, place, 7) + 2**31) % 2**32 >> 8) / 2.0**24 for place in (1, 2)]
    np.testing.assert_allclose(both.reshape(-1), expected[0] - expected[1], rtol=1e-6)
    turns = "let h = x\nrepeat 2 { h = h * 1000 + floor(uniform([N, 3]) * 1000) }\nh"
    result = drawn(turns, x=np.zeros((5, 3), np.float32))
    assert not np.array_equal(result // 1000, result % 1000)


def test_the_seed_is_one_input_behind_the_others() -> None:
    graph = graph_of("uniform([N, 3]) + normal([N, 3]) + y", ", y: f32[3]")
    assert [str(value) for value in graph.inputs] == ["%x", "%y", "%seed"]
    assert graph.inputs[-1].type == TensorType(I64)
    assert [v.name for v in graph_of("x * 2").inputs] == ["x"]


def test_a_model_may_declare_its_seed() -> None:
    graph = graph_of("uniform([N, 3]) + y", ", seed: i64[], y: f32[3]")
    assert [value.name for value in graph.inputs] == ["x", "seed", "y"]


def test_a_value_called_seed_is_renamed() -> None:
    graph = graph_of("let seed = x * 2\nseed + uniform([N, 3])")
    assert [value.name for value in graph.inputs] == ["x", "seed"]


def test_a_parameter_called_seed_is_refused() -> None:
    with pytest.raises(UserError, match="SW0415"):
        check("model m() -> f32[3] { param seed: f32[3]\n seed + uniform([3]) }", "m.well")


class _Training(Entry):
    """An entry that keeps its seed and its step itself."""

    def _bind(self) -> None:
        super()._bind()
        names = self.frame.scopes[0]
        self.e.random = RandomSource(names["key"], names["step"])


def test_the_step_is_part_of_the_counter() -> None:
    program = check("model m(step: i64[], key: i64[]) -> f32[15] { uniform([15]) }", "m.well")
    entry = _Training(program, program.root, program.root.tree.functions[0], {}, None)
    assert not entry.faults()
    result = interpret_graph(entry.graph(), {"step": np.int64(5), "key": np.int64(9)})
    expected = (((bits(0, (5 << 32) + 1, 9) + 2**31) % 2**32) >> 8) / 2.0**24
    np.testing.assert_array_equal(result["out"], expected)


def test_dropout_does_nothing_outside_of_training() -> None:
    graph = graph_of("dropout(x, 0.5)")
    assert graph.results[0][1] == graph.inputs[0]
    assert len(graph.inputs) == 1


@pytest.mark.parametrize("p", [0, 0.25, 1])
def test_dropout_scales_what_it_keeps(p: float) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    result = drawn(f"dropout(x, {p})", 7, x, training=True).reshape(-1)
    kept = ((bits(0, 1, 7) + 2**31) % 2**32) < (1 - p) * 2**32
    scale = 1 / (1 - p) if p < 1 else 0
    np.testing.assert_allclose(result, np.where(kept, x.reshape(-1) * scale, 0), rtol=1e-6)


def test_training_is_known_at_compile_time() -> None:
    body = "if training { x + 1 } else { x * 2 }"
    assert graph_of(body).ops[-1].name == "mul"
    assert graph_of(body, training=True).ops[-1].name == "add"
    program = check("model m(training: f32[3]) -> f32[3] { training * 2 }", "m.well")
    assert elaborate(program, "m").inputs[0].name == "training"  # a name of the program's own


MISTAKES: Mapping[str, str] = {
    "bernoulli([3], 1.5)": "`p` must be from 0 to 1, not 1.5",
    'bernoulli([3], "half")': "`p` must be a number or a tensor, not",
    "uniform([3], dtype: i32)": "draws floats, not i32",
    "normal([-1])": "an axis",
}


@pytest.mark.parametrize("body", MISTAKES)
def test_mistakes(body: str) -> None:
    with pytest.raises(UserError) as caught:
        check(f"model m(x: f32[3]) -> f32[3] {{ {body} }}", "m.well")
    assert MISTAKES[body] in str(caught.value)
