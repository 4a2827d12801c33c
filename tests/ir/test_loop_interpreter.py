"""The loop interpreter: exact numbers, lanes, masks, checks, bounds, one workspace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_kernels import kernels

from stepwell.ir.diagnostics import InputError, InternalError
from stepwell.ir.dtypes import BF16, BOOL, BY_NAME, F16, F32, F64, I8, I32, I64, U8, DType
from stepwell.ir.loop import interpret_program, parse_kernel, parse_loops, run_kernel
from stepwell.ir.loop.analysis import canonical
from stepwell.ir.loop.core import Kernel, Program

Array = np.ndarray[Any, np.dtype[Any]]


def run(text: str, sizes: dict[str, int] | None = None, **arrays: Any) -> dict[str, Array]:
    made = {name: np.array(array) for name, array in arrays.items()}
    run_kernel(parse_kernel(text), sizes or {}, made)
    return made


def evaluate(expr: str, dtype: DType, x: Any, y: Any = 0) -> Any:
    """One expression of `x` and `y`, which are of a dtype; the result's dtype is the same."""
    text = f"""kernel k(a: {dtype}[2] in, out: {dtype} out) pointwise {{
        let x: {dtype} = a[0]  let y: {dtype} = a[1]  out[] = {expr} }}"""
    a = np.array([x, y], dtype.numpy)
    return run(text, a=a, out=np.zeros((), dtype.numpy))["out"][()]


@pytest.mark.parametrize(
    ("expr", "dtype", "x", "y", "expected"),
    [
        ("x + y", I8, 127, 1, -128),
        ("x * y", I64, 2**62, 4, 0),
        ("x - y", U8, 3, 5, 254),
        ("-x", U8, 1, 0, 255),
        ("-x", I8, -128, 0, -128),
        ("abs(x)", I8, -128, 0, -128),
        ("not x", U8, 1, 0, 254),
        ("not x", I32, 1, 0, -2),
        ("sign(x)", I32, -7, 0, -1),
        ("x // y", I32, -7, 2, -4),
        ("x % y", I32, -7, 2, 1),
        ("x % y", I32, 7, -2, -1),
        ("x // y", I32, 7, 0, 0),
        ("x % y", I32, 7, 0, 0),
        ("x // y", I8, -128, -1, -128),
        ("pow(x, y)", I32, 3, 4, 81),
        ("pow(x, y)", I32, 3, 40, 3**40 % 2**32 - 2**32 * (3**40 >> 31 & 1)),
        ("pow(x, y)", I32, -1, -3, -1),
        ("pow(x, y)", I32, 2, -3, 0),
        ("x and y", I32, 6, 3, 2),
        ("x xor y", U8, 6, 3, 5),
        ("max(x, y)", I64, -5, 3, 3),
        ("x + y", F32, 2**24, 1.0, 2**24),
        ("x + y", F64, 2**24, 1.0, 2**24 + 1),
        ("x / y", F32, 1.0, 0.0, math.inf),
        ("x // y", F32, -7.0, 2.0, -4.0),
        ("x % y", F32, -7.0, 2.0, 1.0),
        ("round(x)", F32, 2.5, 0, 2.0),
        ("round(x)", F32, -3.5, 0, -4.0),
        ("trunc(x)", F32, -1.7, 0, -1.0),
        ("sign(x)", F32, -1.7, 0, -1.0),
        ("sigmoid(x)", F32, -200.0, 0, 0.0),
        ("rsqrt(x)", F64, 4.0, 0, 0.5),
        ("erf(x)", F64, 0.5, 0, math.erf(0.5)),
        ("exp(x)", F32, 1.0, 0, np.float32(math.e)),
        ("exp(x)", F32, 1000.0, 0, math.inf),
        ("pow(x, y)", F32, 2.0, -0.5, np.float32(2**-0.5)),
        ("x and not y", BOOL, True, False, True),
        ("x xor y", BOOL, True, True, False),
        ("x < y", BOOL, False, True, True),
        ("max(x, y)", BOOL, False, True, True),
    ],
)
def test_operators(expr: str, dtype: DType, x: Any, y: Any, expected: Any) -> None:
    assert evaluate(expr, dtype, x, y) == expected


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize(("x", "y"), [(math.nan, 1.0), (1.0, math.nan)])
def test_extrema_propagate_nan(op: str, x: float, y: float) -> None:
    assert math.isnan(evaluate(f"{op}(x, y)", F32, x, y))


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("f32", "i8", 300.0, 127),
        ("f32", "i8", -3.9, -3),
        ("f32", "u8", -3.9, 0),
        ("f32", "i64", math.nan, 0),
        ("f64", "i64", math.inf, 2**63 - 1),
        ("f32", "i32", -math.inf, -(2**31)),
        ("i64", "i8", 200, -56),
        ("i32", "u8", -1, 255),
        ("i64", "f32", 2**60 + 2**36 + 1, 2**60 + 2**37),
        ("i64", "bf16", 257, 256),
        ("f64", "bf16", 1 + 2**-8 + 2**-40, 1 + 2**-7),
        ("f64", "bf16", 1 + 2**-8, 1.0),
        ("f32", "f16", 1e6, math.inf),
        ("f64", "f16", 1 + 2**-11 + 2**-40, 1 + 2**-10),
        ("bool", "f32", True, 1.0),
        ("bool", "i8", True, 1),
        ("f32", "bool", 0.5, True),
        ("i64", "bool", 0, False),
        ("f32", "bool", math.nan, True),
    ],
)
def test_casts(source: str, target: str, value: Any, expected: Any) -> None:
    text = f"""kernel k(a: {source} in, out: {target} out) pointwise {{
        out[] = {target}(a[]) }}"""
    a = np.array(value, BY_NAME[source].numpy)
    out = run(text, a=a, out=np.zeros((), BY_NAME[target].numpy))["out"]
    assert out[()] == expected


def test_storage_types_compute_in_f32() -> None:
    text = """kernel k(a: f16[2] in, b: bf16 in, out: f16 out) pointwise {
        out[] = f16(f32(a[0]) * f32(a[1]) + f32(b[])) }"""
    a, b = np.array([300, 300], F16.numpy), np.array(-89984, BF16.numpy)
    assert run(text, a=a, b=b, out=np.zeros((), F16.numpy))["out"] == 90000 + float(b)


def test_a_guard_spares_the_load() -> None:
    text = """kernel k[N](x: f32[N] in, y: f32[N] out) pointwise {
        for i in 0..N { y[i] = x[i - 1 | i >= 1] } }"""
    made = run(text, {"N": 3}, x=np.float32([5, 6, 7]), y=np.zeros(3, np.float32))
    assert made["y"].tolist() == [0, 5, 6]


def test_a_guard_does_not_spare_what_is_in_its_subscripts() -> None:
    text = """kernel k(x: f32[2] in, ids: i64[2] in, y: f32[2] out) pointwise {
        for i in 0..3 { y[0] = x[ids[i] | i < 2] } }"""
    with pytest.raises(InternalError, match="subscript 0 of `ids` is 2, outside its extent 2"):
        run(text, x=np.zeros(2, "f4"), ids=np.zeros(2, "i8"), y=np.zeros(2, "f4"))


@pytest.mark.parametrize("value", ["select(i < 2, x[i], 0.0)", "x[i | i < 3]", "x[-1 * i]"])
def test_both_branches_of_a_select_are_computed(value: str) -> None:
    text = f"""kernel k(x: f32[2] in, y: f32[3] out) pointwise {{
        for i in 0..3 {{ y[i] = {value} }} }}"""
    with pytest.raises(InternalError) as caught:
        run(text, x=np.zeros(2, "f4"), y=np.zeros(3, "f4"))
    assert f"in `y[i] = {value}`" in caught.value.message


def test_a_store_out_of_bounds() -> None:
    text = "kernel k[N](y: f32[N, 4] out) pointwise { for i in 0..N { y[i, i + 1] = 0.0 } }"
    with pytest.raises(InternalError, match="subscript 1 of `y` is 4, outside its extent 4"):
        run(text, {"N": 4}, y=np.zeros((4, 4), "f4"))


def test_a_failed_check_is_the_users_fault() -> None:
    text = """kernel k(ids: i64[3] in, y: f32[2] out) pointwise {
        for i in 0..3 { check 0 <= ids[i] and ids[i] < 2, "no row"  y[ids[i]] = 1.0 } }"""
    with pytest.raises(InputError, match="no row"):
        run(text, ids=np.array([0, 1, 2]), y=np.zeros(2, "f4"))


def test_lanes_go_statement_by_statement() -> None:
    text = """kernel k(x: f32[5] inout) pointwise {
        for l in 0..4 vector { x[l + 1] = x[l] + 1.0  let t: f32 = x[l]  x[l] = t * 10.0 } }"""
    made = run(text, x=np.float32([0, 1, 2, 3, 4]))
    # All lanes load before any stores: [0, 1, 2, 3, 4] becomes [0, 1, 2, 3, 4] shifted by one.
    assert made["x"].tolist() == [0, 10, 20, 30, 4]


def test_masks_nest_and_have_two_sides() -> None:
    text = """kernel k(x: f32[8] in, y: f32[8] inout) pointwise {
        for l in 0..8 vector {
          if x[l] > 0.0 {
            if l < 4 { y[l] = 1.0 } else { y[l] = 2.0 }
            for u in 0..2 unrolled { y[l] = y[l] + 10.0 }
          } else { y[l] = 3.0  check l % 2 == 1, "odd lanes only" }
        } }"""
    x = np.float32([1, -1, 1, -1, 1, -1, 1, 1])
    made = run(text, x=x, y=np.zeros(8, "f4"))
    assert made["y"].tolist() == [21, 3, 21, 3, 22, 3, 22, 22]
    with pytest.raises(InputError, match="odd lanes only"):
        run(text, x=-x, y=np.zeros(8, "f4"))


def test_horizontal_sums_are_pairwise() -> None:
    text = """kernel k(x: f32[8] in, y: f32 out) reduction {
        alloc a: f32[2, 4] register
        for u in 0..2 unrolled { for l in 0..4 vector { a[u, l] = x[4*u + l] } }
        y[] = hsum(a) }"""
    x = np.float32([1e8, 1, -1e8, 1, 1, 1, 1, 1])
    half = x[:4] + x[4:]
    quarter = half[:2] + half[2:]
    assert run(text, x=x, y=np.zeros((), "f4"))["y"] == quarter[0] + quarter[1]


@pytest.mark.parametrize(("space", "shape"), [("register", (4,)), ("scratch", (4,))])
def test_uninitialised_memory_is_nan(space: str, shape: tuple[int, ...]) -> None:
    text = f"""kernel k(y: f32[4] out, n: i32[4] out, b: bool out) pointwise {{
        alloc a: f32[4] {space}  alloc c: i32[4] {space}  alloc d: bool[4] {space}
        y[0] = a[0]  n[0] = c[1]  b[] = d[2]  a[0] = 1.0
        for u in 0..4 unrolled {{ y[u] = a[u] }} }}"""
    made = run(text, y=np.zeros(4, "f4"), n=np.zeros(4, "i4"), b=np.zeros((), bool))
    assert made["y"][0] == 1 and np.isnan(made["y"][1:]).all()
    assert made["n"][0] == -1 and made["b"]


def test_parallel_loops_run_in_another_order() -> None:
    text = """kernel k[N](x: f32[N] inout) pointwise {
        for i in 0..N parallel { x[i] = x[max(i - 1, 0)] + 1.0 } }"""
    made = run(text, {"N": 4}, x=np.zeros(4, "f4"))
    assert made["x"].tolist() != [1, 2, 3, 4]


def test_arrays_must_fit_and_may_be_views() -> None:
    text = "kernel k[N](x: f32[N] inout) pointwise { for i in 0..N { x[i] = x[i] + 1.0 } }"
    base = np.zeros(6, "f4")
    run_kernel(parse_kernel(text), {"N": 3}, {"x": base[::2]})
    assert base.tolist() == [1, 0, 1, 0, 1, 0]
    with pytest.raises(InternalError, match="`x` is f32\\[4\\], given float32\\[3\\]"):
        run_kernel(parse_kernel(text), {"N": 4}, {"x": base[::2]})


def test_long_expressions_are_computed_in_parts() -> None:
    value = "x[0]" + " * 1.0 + (x[0]" * 300 + ")" * 300
    text = f"kernel k(x: f32[1] in, y: f32 out) pointwise {{ y[] = {value} }}"
    assert run(text, x=np.float32([1]), y=np.zeros((), "f4"))["y"] == 301


@settings(max_examples=60, deadline=None)
@given(kernels(), st.integers(0, 5), st.integers(0, 6), st.integers(0, 99))
def test_renaming_does_not_change_results(kernel: Kernel, n: int, m: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, m)).astype("f4")
    ids = generator.integers(-1, n + 1, n)
    arrays = {"x": x, "ids": ids, "y": np.zeros((n, m), "f4")}
    renamed = {"a0": x, "a1": ids, "a2": np.zeros((n, m), "f4")}
    run_kernel(kernel, {"N": n, "M": m}, arrays)
    run_kernel(canonical(kernel), {"n0": n, "n1": m}, renamed)
    assert arrays["y"].tobytes() == renamed["a2"].tobytes()
    assert np.array_equal(ids, arrays["ids"])


PROGRAM = """
program p[N, H] {
  input x: f32[N, 2*H]
  parameter w: f32[H]
  constant c: f32[2] = [10.0, 20.0]
  temporary t: f32[N, H] at 0
  temporary u: f32[N, H] at AT
  output y: f32[N, H]
  require N <= 4, "too many rows"
  workspace 256 + 8*N*H

  call first[N, H](x, t)
  call scale[N, H](t, w, c, u) scratch 128 + 8*N*H
  call scale[N, H](t, w, c, y) scratch 128 + 8*N*H
}

kernel first[N, H](x: f32[N, 2*H] in, y: f32[N, H] out) pointwise {
  for i in 0..N { for j in 0..H { y[i, j] = x[i, j] } }
}

kernel scale[N, H](x: f32[N, H] in, w: f32[H] in, c: f32[2] in, y: f32[N, H] out) pointwise {
  alloc row: f32[H] scratch
  for i in 0..N {
    for j in 0..H { row[j] = x[i, j] * w[j] }
    for k in 0..H { y[i, k] = row[k] + c[1] }
  }
}
"""


def _program(at: str = "4*N*H") -> Program:
    program = parse_loops(PROGRAM.replace("AT", at))
    assert isinstance(program, Program)
    return program


X, W = np.arange(12, dtype="f4").reshape(2, 6), np.float32([1, 2, 3])


def test_a_program_with_a_plan() -> None:
    x, w = X.copy(), W.copy()
    result = interpret_program(_program(), {"x": x}, {"w": w})
    assert list(result) == ["y"]
    assert np.array_equal(result["y"], x[:, :3] * w + 20)
    assert np.array_equal(x, X) and np.array_equal(w, W)


def test_a_wrong_plan_gives_wrong_answers() -> None:
    result = interpret_program(_program(at="0"), {"x": X}, {"w": W})
    assert not np.array_equal(result["y"], X[:, :3] * W + 20)


def test_a_plan_beyond_the_workspace() -> None:
    with pytest.raises(InternalError, match="in a workspace of"):
        interpret_program(_program(at="1024"), {"x": X}, {"w": W})


@pytest.mark.parametrize(
    ("x", "w", "message"),
    [
        (X, W[:2], "w is f32\\[H\\]; .* axis 0 must be 3 \\(H = 3 from x\\)"),
        (X[:, :5], W[:2], "x is f32\\[N, 2\\*H\\]; .* axis 1 must be 4"),
        (np.zeros((5, 6), "f4"), W, "too many rows"),
        (X.astype("f8"), W, "`x` is f32\\[N, 2\\*H\\], given float64"),
        (X[0], W, "with 2 axes; the shape given is \\[6\\], with 1"),
    ],
)
def test_arguments_that_do_not_fit(x: Array, w: Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        interpret_program(_program(), {"x": x}, {"w": w})


def test_missing_and_unknown_arguments() -> None:
    with pytest.raises(InputError, match="`w: f32\\[H\\]` is missing"):
        interpret_program(_program(), {"x": X}, {})
    with pytest.raises(InputError, match="there is no input or parameter `v`"):
        interpret_program(_program(), {"x": X, "v": X}, {"w": W})


def test_a_size_that_no_shape_gives() -> None:
    program = parse_loops("""program p[N] { output y: f32[N]  call k[N](y) }
        kernel k[N](y: f32[N] out) pointwise { for i in 0..N { y[i] = f32(i) } }""")
    assert isinstance(program, Program)
    with pytest.raises(InputError, match="the size N cannot be told from the shapes"):
        interpret_program(program, {}, {})
    assert interpret_program(program, {}, {}, {"N": 3})["y"].tolist() == [0, 1, 2]


PREPARED = """
program p[N] {
  input x: f32[N, 2]
  parameter w: f32[2]
  prepared t: f32[2] at 8
  prepared u: f32[2]
  output y: f32[N, 2]
  workspace 0
  prepare_workspace 24

  prepare turn(w, t) scratch 16
  prepare turn(t, u) scratch 16
  call scale[N](x, u, y)
}

kernel turn(w: f32[2] const, v: f32[2] out) pack {
  alloc s: f32[2] scratch
  for i in 0..2 { s[i] = w[1 - i] + 1.0 }
  for j in 0..2 { v[j] = s[j] }
}

kernel scale[N](x: f32[N, 2] in, u: f32[2] const, y: f32[N, 2] out) pointwise {
  for i in 0..N { for j in 0..2 { y[i, j] = x[i, j] * u[j] } }
}
"""


def test_preparations_run_first_in_their_own_workspace() -> None:
    x, w = np.float32([[1, 1], [2, 3]]), np.float32([10, 20])
    program = parse_loops(PREPARED)
    assert isinstance(program, Program)
    result = interpret_program(program, {"x": x}, {"w": w})
    assert np.array_equal(result["y"], x * np.float32([12, 22]))
    wrong = parse_loops(PREPARED.replace("scratch 16", "scratch 8"))
    assert isinstance(wrong, Program)
    result = interpret_program(wrong, {"x": x}, {"w": w})
    assert not np.array_equal(result["y"], x * np.float32([12, 22]))
