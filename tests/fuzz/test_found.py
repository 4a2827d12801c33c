"""What fuzzing found, kept as small tests."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

from stepwell import compile
from stepwell.codegen.jit import NativeProgram
from stepwell.compilation import Compilation
from stepwell.frontend import check, elaborate
from stepwell.ir.diagnostics import VerifyError
from stepwell.ir.graph import parse_graph, print_graph
from stepwell.ir.loop import parse_loops, verify_loops
from stepwell.source import Source, as_source


def graph_of(source: str):
    program = check(source, "found.well")
    return elaborate(program, "f")


def test_native_code_in_a_cycle_is_collected() -> None:
    """The engine's finaliser ran after that of the LLVM context that it needed."""
    script = """
import gc
from stepwell import compile
from stepwell.codegen.llvm import llvm_text
from stepwell.compilation import Compilation
for _ in range(4):
    model = compile("model f(x: f32[N]) -> f32[N] { x + 1.0 }", cache=False)
    model.itself = model
    del model
    gc.collect()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_subscript_modulo_an_empty_axis_is_refused_on_entry() -> None:
    """k % M is 0 where M is 0: x[0] of nothing."""
    graph = graph_of("model f(x: f32[M], n: f32[N]) { [k: N] -> x[k % M] + n[k] }")
    assert [(c.left, c.relation, str(c.right)) for c in graph.constraints] == [(1, "<=", "M")]
    graph = graph_of("model f(x: f32[M]) { [k: M] -> x[(k + 1) % M] }")
    assert not graph.constraints


@pytest.mark.parametrize(
    "formula",
    [
        "[i: N] -> sum[m: N where i - m >= 0] x[i // 2]",
        "[i: N] -> sum[m: N where i - m >= 0] x[max(m - 1, 0)]",
        "[i: N] -> sum[m: N where i - m >= 0] x[min(i + 1, N - 1)]",
    ],
)
def test_quotients_and_choices_stay_in_their_axis(formula: str) -> None:
    """Beside a guard these were refused; without one they made N = 0 an error on entry."""
    assert not graph_of(f"model f(x: f32[N]) {{ {formula} }}").constraints


@pytest.mark.parametrize("subscript", ["i // 2 + 1", "max(i, 1)", "min(i, N)"])
def test_subscripts_that_leave_their_axis(subscript: str) -> None:
    """N = 1 breaks the first two: checked on entry. The last is within bounds for every N."""
    constraints = graph_of(f"model f(x: f32[N]) {{ [i: N] -> x[{subscript}] }}").constraints
    assert bool(constraints) == ("min" not in subscript)


def test_an_index_over_itself_is_zero_at_zero() -> None:
    """i // i was simplified to 1, and x[i // i] to x[1]."""
    source = "model f(x: f32[3]) { [i: 3] -> x[i // i] + cast(i // i + i % i, f32) }"
    found = compile(source, cache=False)(np.array([0.0, 5.0, 9.0], np.float32))
    np.testing.assert_array_equal(found, [0.0, 6.0, 6.0])


def test_a_parameter_without_axes() -> None:
    """Packing the weights gave a scalar an axis."""
    program = Compilation(as_source("model f(x: f32[N]) { param s: f32 = ones; x * s }")).program
    weights = NativeProgram.preparing(program).prepared([np.array(2.5, np.float32)])
    assert weights[64:68].view(np.float32)[0] == 2.5


def test_scratch_at_a_symbolic_offset_with_a_constant() -> None:
    """The constant was added after the address had been computed: LLVM refused the module."""
    graph = parse_graph("""graph @f[N, M](%x: f32[2, 1, N + 1], %w: f32[M, N + 1, 2]) {
      %y = contract(%x, %w) {spec = "abc,xca->bx"} : f32[1, M]
      %z = transpose(%y) {permutation = [1, 0]} : f32[M, 1]
      return z = %z
    }""")
    source = Source("found.graph", print_graph(graph), "graph")
    assert Compilation(source).objects[0][:4] == b"\x7fELF"


@pytest.mark.parametrize(
    ("subscript", "refused"), [("2", True), ("u", False), ("u + 1", True), ("u // 2", False)]
)
def test_registers_beyond_their_array(subscript: str, refused: bool) -> None:
    """Code generation found out, and fell over."""
    kernel = f"""kernel f(out: f32[2] out) pointwise {{
      alloc r: f32[2] register
      for u in 0..2 unrolled {{
        r[{subscript}] = 0.0
      }}
      out[0] = r[0]
    }}"""
    with pytest.raises(VerifyError, match="can leave its axis") if refused else nullcontext():
        verify_loops(parse_loops(kernel, "found.loops"))


def test_lines_beyond_what_debug_information_holds() -> None:
    text = """sources {s = "s.well"}
    graph @f(%x: f32[3]) {
      %y = exp(%x) : f32[3]   @s:9223372036854775808:70000-70001
      return y = %y
    }"""
    assert Compilation(Source("found.graph", text, "graph")).objects
