"""States: parameters that a run updates in place, from the graph's text to native code."""

import numpy as np
import pytest

import stepwell as sw
from stepwell.compilation import Compilation, Options
from stepwell.ir.diagnostics import VerifyError
from stepwell.ir.graph import interpret_step, parse_graph
from stepwell.ir.loop import parse_loops, verify_loops
from stepwell.ir.loop.core import Let
from stepwell.ir.loop.printer import format_block
from stepwell.source import as_source

MOMENTUM = """
graph @step[N](%x: f32[N, 20], %y: f32[N, 10]) {
  param %w: f32[20, 10] = glorot_uniform
  param %b: f32[10] = zeros
  param %scale: f32[10] = ones
  state %m: f32[20, 10] = zeros
  state %t: i64[] = zeros
  %h = contract(%x, %w) {spec = "nk,kj->nj"} : f32[N, 10]
  %bb = broadcast(%b) {shape = [N, 10], axes = [1]} : f32[N, 10]
  %o = add(%h, %bb) : f32[N, 10]
  %d = sub(%o, %y) : f32[N, 10]
  %ss = broadcast(%scale) {shape = [N, 10], axes = [1]} : f32[N, 10]
  %e = mul(%d, %ss) : f32[N, 10]
  %loss = reduce_sum(%e) {axes = [0, 1]} : f32[]
  %g = contract(%x, %e) {spec = "nk,nj->kj"} : f32[20, 10]
  %beta = constant {value = 0.9, dtype = f32, shape = [20, 10]} : f32[20, 10]
  %m0 = mul(%m, %beta) : f32[20, 10]
  %m1 = add(%m0, %g) : f32[20, 10]
  %lr = constant {value = 0.01, dtype = f32, shape = [20, 10]} : f32[20, 10]
  %s = mul(%lr, %m1) : f32[20, 10]
  %w1 = sub(%w, %s) : f32[20, 10]
  %db = reduce_sum(%e) {axes = [0]} : f32[10]
  %b1 = sub(%b, %db) : f32[10]
  %one = constant {value = 1, dtype = i64, shape = []} : i64[]
  %t1 = add(%t, %one) : i64[]
  update %w = %w1
  update %b = %b1
  update %m = %m1
  update %t = %t1
  return loss = %loss
}
"""


def arrays_for(graph, seed=0, size=7):
    """Inputs of a graph whose only size is N."""
    random = np.random.default_rng(seed)
    return {
        value.name: random.normal(
            size=[dim if isinstance(dim, int) else size for dim in value.type.shape]
        ).astype(value.type.dtype.numpy)
        for value in graph.inputs
    }


def test_a_run_updates_its_state_as_the_interpreter_does():
    graph, model = parse_graph(MOMENTUM), sw.compile(MOMENTUM, check_each_pass=True)
    inputs = arrays_for(graph)
    assert list(model.parameters) == ["scale"]  # what is not updated is a weight, as ever
    for _ in range(3):
        results, updates = interpret_step(graph, inputs, model.arrays)
        np.testing.assert_allclose(model(**inputs), results["loss"], rtol=1e-5)
        assert model.state.arrays.keys() == updates.keys()
        for path, expected in updates.items():
            np.testing.assert_allclose(model.state.arrays[path], expected, rtol=1e-4, atol=1e-5)
    assert model.state.arrays["t"] == 3


def test_threads_do_not_change_the_state():
    graph = parse_graph(MOMENTUM)
    one, two = (sw.compile(MOMENTUM, threads=threads) for threads in (1, 2))
    for step in range(3):
        inputs = arrays_for(graph, seed=step, size=300)
        one(**inputs), two(**inputs)
    assert one.state.block.tobytes() == two.state.block.tobytes()


def test_weights_must_have_what_is_trained_and_may_have_the_rest():
    weights = {"w": np.ones((20, 10), "f4"), "b": np.ones(10, "f4"), "scale": np.ones(10, "f4")}
    model = sw.compile(MOMENTUM, weights=weights)
    assert (model.state.arrays["b"] == 1).all() and (model.state.arrays["m"] == 0).all()
    model = sw.compile(MOMENTUM, weights={**weights, "t": np.int64(5)})
    assert model.state.arrays["t"] == 5
    del weights["b"]
    with pytest.raises(sw.InputError, match=r"missing: `b` f32\[10\]"):
        sw.compile(MOMENTUM, weights=weights)


def test_the_description_says_where_each_state_lies():
    states = sw.compile(MOMENTUM).description["states"]
    places = [(item["name"], item["kind"], item["offset"]) for item in states]
    expected = [("w", "param", 0), ("b", "param", 832), ("m", "state", 896), ("t", "state", 1728)]
    assert places == expected
    assert states[0]["initializer"] == "glorot_uniform"


SWAP = """
graph @swap() {
  param %a: f32[4] = uniform
  param %b: f32[4] = ones
  param %c: f32[4] = zeros
  update %a = %b
  update %b = %a
  update %c = %c
  return old = %a
}
"""


def test_states_may_take_each_others_old_values():
    start = {name: np.float32([i, i + 1, i + 2, i + 3]) for i, name in enumerate("abc")}
    model = sw.compile(SWAP, weights=start)
    assert (model() == start["a"]).all()
    assert (model.state.arrays["a"] == start["b"]).all()
    assert (model.state.arrays["b"] == start["a"]).all()
    assert (model.arrays["c"] == start["c"]).all()


def test_loop_text_has_states():
    program = Compilation(as_source(MOMENTUM), Options()).stage("loops")
    assert "state w: f32[20, 10] = glorot_uniform trained\n" in program
    assert "state m: f32[20, 10] = zeros\n" in program


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("state a: f32[N] = zeros", "a state has a shape of numbers"),
        ("temporary a: f32[2] trained", "a state may be trained, and nothing else"),
    ],
)
def test_rules_of_states(line, message):
    with pytest.raises(VerifyError, match=message):
        verify_loops(parse_loops(f"program p[N] {{\n  {line}\n}}"))


ADAM = """
graph @step(%x: f32[32, 48], %d: f32[32, 100]) {
  param %w: f32[48, 100] = glorot_uniform
  state %m: f32[48, 100] = zeros
  state %t: i64[] = zeros
  %g = contract(%x, %d) {spec = "nk,nj->kj"} : f32[48, 100]
  %m1 = add(%m, %g) : f32[48, 100]
  %time = cast(%t) {dtype = f64} : f64[]
  %beta = constant {value = 0.9, dtype = f64, shape = []} : f64[]
  %power = pow(%beta, %time) : f64[]
  %rate = cast(%power) {dtype = f32} : f32[]
  %rates = broadcast(%rate) {shape = [48, 100], axes = []} : f32[48, 100]
  %s = mul(%rates, %m1) : f32[48, 100]
  %w1 = sub(%w, %s) : f32[48, 100]
  %one = constant {value = 1, dtype = i64, shape = []} : i64[]
  %t1 = add(%t, %one) : i64[]
  update %w = %w1
  update %m = %m1
  update %t = %t1
  return
}
"""


def test_a_weights_gradient_and_its_update_are_one_kernel():
    program = Compilation(as_source(ADAM), Options()).program
    assert not program.with_role("temporary")
    assert [call.arguments for call in program.calls] == [("x", "d", "t", "m", "w"), ("t",)]
    kernel = program.kernels[0]
    powers = [s for s in kernel.body if isinstance(s, Let) and "pow(" in format_block((s,))]
    assert len(powers) == 1  # before all loops, once
