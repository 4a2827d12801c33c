"""Expressions, dims and types print to text that reads back as the same records."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.ir import scalar
from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import ALL, BF16, BOOL, F16, F32, F64, I32, I64, U8
from stepwell.ir.parse import parse_dim, parse_expr, parse_formula, parse_type
from stepwell.ir.resolve import Scope
from stepwell.ir.scalar import (
    Axis,
    Binary,
    Cast,
    Const,
    Formula,
    Horizontal,
    Load,
    Reduce,
    Select,
    Unary,
    Var,
    index,
)
from stepwell.ir.size import floordiv, maximum, mod, symbol
from stepwell.ir.text import format_dim, format_expr, format_formula, format_type
from stepwell.ir.types import TensorType

SCOPE = Scope(
    {"i": I64, "j": I64, "t": F32, "c": BOOL},
    {"x": F32, "block.3.wq": F32, "and": F32, "0": F32, "ids": I32, "acc": F32, "m": BOOL},
    sizes_open=True,
)


@pytest.mark.parametrize(
    "text",
    [
        "x[i, 2 * j + 1] * t - x[j, i] / t",
        "x[i - 1 | i >= 1]",
        "(t + t) * t - (t - t)",
        "t - -t * -1.5",
        "neg(1.0) + neg(-1.0) + -(t * t)",
        "sum[k: N where k != i and k < 2 * N] x[k, j] * t + t",
        "(sum[k: N] x[k]) * t",
        "max[k: N] sum[l: 3] x[k, l]",
        "sum[k: N] (x[k] + t)",
        "not c and (c or not c) xor i % 2 == j // 3",
        "not (c or c)",
        "(i == j) == c",
        "select(c, exp(t), max(t, 0.0))",
        "i32(i) + philox(i, 2 * j, -1, 3)",
        "f32(i) + f32(0.1_f64) + inf + -inf + nan",
        "1.5_f64 + -0.0_f64 + inf_f64 + nan_f64",
        "255_u8 == u8(i)",
        "-9223372036854775808 + i",
        "hsum(acc[1]) + hsum(acc[i, 2])",
        "hsum(acc) + block.3.wq[] + `and`[i] + `0`[j]",
        "x[i64(ids[i]), 0]",
        "argmax[k: N] x[k] == i",
        "rsqrt(t) + sigmoid(t) + pow(t, 2.0) + 1e-07",
        "true or false",
        "any[k: N] m[k]",
    ],
)
def test_expression_text_is_a_fixed_point(text: str) -> None:
    assert format_expr(parse_expr(text, SCOPE)) == text


_numbers = st.one_of(st.floats(width=32), st.sampled_from([0.0, -0.0, 0.1, float("inf")]))
_leaves = st.one_of(
    _numbers.map(lambda v: Const(v, F32)),
    st.just(Var("t", F32)),
    st.sampled_from([Load("x", (Var("i"), index(-2)), F32), Load("and", (), F32)]),
    st.just(Horizontal("max", "acc", F32)),
    st.floats(allow_nan=False).map(lambda v: Cast(Const(v, F64), F32)),
    st.floats(width=16).map(lambda v: Cast(Const(v, F16), F32)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: Cast(index(v), F32)),
)


def _grow(inner: st.SearchStrategy[scalar.Expr]) -> st.SearchStrategy[scalar.Expr]:
    condition = st.builds(Binary, st.sampled_from(scalar.COMPARISONS), inner, inner)
    logic = st.one_of(
        condition,
        st.builds(Unary, st.just("not"), condition),
        st.builds(Binary, st.sampled_from([*scalar.LOGIC, "eq"]), condition, condition),
    )
    axes = st.just((Axis("k", symbol("N")),))
    return st.one_of(
        st.builds(Unary, st.sampled_from(["neg", "exp", "floor"]), inner),
        st.builds(Binary, st.sampled_from(scalar.ARITHMETIC), inner, inner),
        st.builds(Select, logic, inner, inner),
        st.builds(
            Reduce, st.sampled_from(["sum", "max"]), axes, inner, st.one_of(st.none(), logic)
        ),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(_leaves, _grow, max_leaves=12))
def test_random_expressions_read_back_equal(expr: scalar.Expr) -> None:
    assert parse_expr(format_expr(expr), SCOPE) == expr


@pytest.mark.parametrize("dtype", ALL)
def test_extreme_constants_read_back_equal(dtype: object) -> None:
    for value in (dtype.lowest, dtype.highest, 0, 1):  # type: ignore[attr-defined]
        const = Const(value, dtype)  # type: ignore[arg-type]
        assert parse_expr(format_expr(const), SCOPE) == const


def test_numbers_without_noise() -> None:
    assert format_expr(Const(0.1, F32)) == "0.1"
    assert format_expr(index(3)) == "3"
    assert format_expr(Const(0.5, BF16)) == "0.5_bf16"
    assert format_expr(Const(7, U8)) == "7_u8"


def test_dims_and_types_read_back_equal() -> None:
    n, h = symbol("N"), symbol("H")
    dims = [0, 7, n, 2 * n * h - 1, floordiv(n + 1, 3) * 2 + n, mod(n, h), maximum(n - h, 0), 1 - n]
    for dim in dims:
        assert parse_dim(format_dim(dim)) == dim
    type = TensorType(F32, (n, 2 * h, 3))
    assert format_type(type) == "f32[N, 2*H, 3]"
    assert parse_type(format_type(type)) == type
    assert parse_type("bool") == TensorType(BOOL)


def test_formula() -> None:
    text = "[i: N, j: 2*M] -> sum[k: K] a[i, k] * b[k, j]"
    formula = parse_formula(text, Scope({}, {"a": F32, "b": F32}, sizes_open=True))
    assert isinstance(formula, Formula)
    assert format_formula(formula) == text
    assert format_formula(parse_formula("[] -> 1.0", Scope())) == "[] -> 1.0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x[i", "unexpected the end of the text; expected"),
        ("t + * t", "unexpected `*`; expected a name, a number"),
        ("t ? t", "unexpected `?`"),
        ("y[i]", "there is no buffer `y` here"),
        ("t + i", "the operands of + differ: f32 and i64"),
        ("x[t]", "a subscript is i64, this is f32"),
        ("sum[k: 2.5] t", "a size is made of integers"),
        ("expp(t)", "did you mean `exp`?"),
        ("max(t)", "max takes 2 arguments, not 1"),
        ("philox(i, t, 0, 1)", "philox takes a counter and a key in i64, this is f32"),
        ("philox(i, 0, 0, 4)", "philox gives the word 0, 1, 2 or 3"),
        ("philox(i, 0, 0, i)", "philox gives the word 0, 1, 2 or 3"),
        ("300_u8", "300 does not fit u8"),
        ("1_f99", "a number cannot end in `_f99`"),
        ("avg[k: 3] t", "there is no reduction `avg`"),
        ("x", "`x` is a buffer"),
        ("hsum(1)", "hsum takes the name of a register array"),
        ("(" * 5000 + "t" + ")" * 5000 + "-", "unexpected the end"),
        ("-" * 5000 + "t", "nested too deeply"),
    ],
)
def test_mistakes_are_diagnostics(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_expr(text, SCOPE)
    shown = str(caught.value)
    assert message in shown
    assert caught.value.diagnostics[0].code.startswith("SW09")
