"""States of models that are compiled by themselves: a cache of keys and values, and a filter."""

from __future__ import annotations

import numpy as np

import stepwell as sw
from stepwell.ir.loop import parse_loops
from stepwell.ir.loop.core import For, Program, statements

DECODE = """
# One token at a time; the keys and values of those before are kept.
model decode(x: f32[1, 16]) -> f32[1, 16] {
    param wq: f32[16, 16]
    param wk: f32[16, 16]
    param wv: f32[16, 16]
    state keys: f32[8, 16] = zeros
    state values: f32[8, 16] = zeros
    state length: i64 = zeros
    let here = iota([8, 1]) == length
    keys = select(here, x @ wk, keys)
    values = select(here, x @ wv, values)
    let seen = iota([8]) <= length
    length = length + 1
    softmax(select(seen, x @ wq @ transpose(keys, [1, 0]) / 4, -1e30)) @ values
}
"""


def test_a_cache_of_keys_and_values() -> None:
    """Eight calls give the rows of causal attention over the eight tokens."""
    rng = np.random.default_rng(0)
    weights = {f"w{k}": 0.5 * rng.standard_normal((16, 16)).astype(np.float32) for k in "qkv"}
    x = rng.standard_normal((8, 16)).astype(np.float32)
    model = sw.compile(DECODE, weights=weights)
    found = np.concatenate([model(row[None]) for row in x])
    q, k, v = (x.astype(np.float64) @ weights[f"w{n}"] for n in "qkv")
    score = np.where(np.tri(8, dtype=bool), q @ k.T / 4, -np.inf)
    p = np.exp(score - score.max(1, keepdims=True))
    expected = p / p.sum(1, keepdims=True) @ v
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_state_whose_new_value_is_named_by_the_caller() -> None:
    source = """layer kept(x: f32[4]) -> f32[4] {
        state last: f32[4] = zeros
        let doubled = 2 * x
        last = doubled
        doubled
    }
    model m(x: f32[4]) -> (f32[4], f32[4]) {
        state before: f32[4] = zeros
        let now = before
        let y = kept(x)
        before = y
        (y, now)
    }"""
    model = sw.compile(source)
    x = np.arange(4, dtype=np.float32)
    for start, expected in [(1, 0 * x), (2, 2 * x), (3, 4 * x)]:
        y, before = model(start * x)
        np.testing.assert_array_equal(y, 2 * start * x)
        np.testing.assert_array_equal(before, expected)


def test_a_state_that_starts_elsewhere_and_is_read_before_and_after() -> None:
    source = """layer smooth(x: f32[N], decay: float) -> (f32[N], f32) {
        state level: f32 = 2.0
        let before = level
        level = decay * level + (1 - decay) * mean(x)
        (x - level, before)
    }
    model m(x: f32[N]) -> (f32[N], f32) { smooth(x, decay: 0.75) }"""
    model = sw.compile(source)
    level = 2.0
    for start in range(4):
        x = np.arange(start, start + 5, dtype=np.float32)
        rest, before = model(x)
        assert before == level
        level = 0.75 * level + 0.25 * (start + 2)
        np.testing.assert_allclose(rest, x - level, rtol=1e-6)


STEP = """
use nn
model step(x: f32[1, 64], place: i64) -> f32[1, 64] {
    nn.cached_attention(x, place, heads: 2, context: 40, name: "attention")
}
model whole(x: f32[1, T, 64]) -> f32[1, T, 64] {
    nn.multi_head_attention(x, heads: 2, causal: true, name: "attention")
}
"""


def test_cached_attention_is_causal_attention_token_by_token() -> None:
    whole = sw.compile(STEP, model="whole", seed=3)
    steps = [
        sw.compile(STEP, model="step", weights=dict(whole.parameters), threads=threads)
        for threads in (1, 2)
    ]
    x = np.random.default_rng(1).standard_normal((40, 64)).astype(np.float32)
    for count in (40, 23):  # begun anew: what is left of the first text is hidden
        found = [
            np.concatenate([step(x[i : i + 1], np.int64(i)) for i in range(count)])
            for step in steps
        ]
        np.testing.assert_array_equal(*found)
        np.testing.assert_allclose(found[0], whole(x[None, :count])[0], rtol=1e-5, atol=1e-6)


def test_a_cache_gets_one_row_in_place() -> None:
    """It has no second buffer, and what writes it has no loop over its rows."""
    model = sw.compile(STEP, model="step")
    program = parse_loops(str(model.stage("loops-opt")))
    assert isinstance(program, Program)
    assert all(item.buffer.type.elements < 40 * 64 for item in program.with_role("temporary"))
    caches = {item.buffer.name for item in program.with_role("state")}
    writers = 0
    for call in program.calls:
        kernel = next(k for k in program.kernels if k.name == call.kernel)
        for parameter, name in zip(kernel.parameters, call.arguments, strict=True):
            if name in caches and parameter.is_written:
                writers += 1
                assert parameter.role == "inout"
                loops = [s for s in statements(kernel.body) if isinstance(s, For)]
                assert all(loop.extent != 40 for loop in loops)
    assert writers == len(caches) == 2
