"""Loop IR prints to text that reads back equal, spans included; mistakes are pointed at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from loop_kernels import kernels

from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import ALL, BF16, BOOL, F32, I64, DType
from stepwell.ir.graph.core import Constraint
from stepwell.ir.loop import format_loops, parse_kernel, parse_loops
from stepwell.ir.loop.core import (
    Alloc,
    Buffer,
    Call,
    Check,
    For,
    If,
    Kernel,
    KernelParameter,
    Let,
    Program,
    ProgramBuffer,
    Store,
    statements,
)
from stepwell.ir.loop.parser import _parser
from stepwell.ir.loop.printer import KEYWORDS
from stepwell.ir.scalar import Binary, Const, Load, Var, index
from stepwell.ir.size import floordiv, symbol
from stepwell.ir.span import Span

TEXT = """\
kernel softmax[N](x: f32[N, 1024] in, out: f32[N, 1024] out) reduction {
  ops reduce_max, sub, exp, reduce_sum, div
  flops 4096*N
  for i in 0..N parallel {
    alloc m: f32 register
    m[] = -inf
    alloc row: f32[1024] scratch
    for k in 0..1024 {
      m[] = max(m[], x[i, k])
    }
    alloc acc: f32[2, 16] register
    for u in 0..2 unrolled {
      for l in 0..16 vector {
        acc[u, l] = 0.0
        if 16 * u + l < N {
          let t: f32 = exp(x[i, l | l < N] - m[])
          acc[u, l] = acc[u, l] + t
        } else {
          acc[u, l] = 1.0
        }
      }
    }
    check 0 <= i, "a message with \\"quotes\\" and ∑"
    out[i, 0] = hsum(acc)
  }
}
"""

PROGRAM = """\
sources {mlp = "models/mlp.well", nn = "stdlib/nn.well"}

program mlp[N, K] {
  input x: f32[N, 4]
  parameter fc.weight: f32[4, K] = glorot_uniform
  parameter fc.bias: f32[K] = "normal(0.0, 0.5)"
  constant table: f32[3] = [1.5, -0.0, 1e-07]
  constant mask: bool[2] = [true, false]
  temporary h: f32[N, K] at 0
  temporary g: f32[N, K] at 4*K*N
  output out: f32[N, K]
  require N divisible by 4, "N is a multiple of 4"   @mlp:3:1-10
  require K <= 2*N, "K is not too large"
  workspace 8*K*N

  call scale[K*N, 2](x, h) scratch 4*N   @nn:7:14-9:3
  call scale[K, N](h, out)
}

kernel scale[N, K](x: f32[N, K] in, y: f32[N, K] out) pointwise {   @nn:1:1-2
  for i in 0..N {   @mlp:4:5-20
    y[i, 0] = x[i, 0] * 2.0   @nn:8:1-4
  }
}
"""


PREPARED = """\
program prepare {
  input x: f32[4]
  parameter w: f32[4] = ones
  prepared t: f32[4] at 64
  prepared w.packed: f32[4]
  output y: f32[4]
  output together: f32[4]
  workspace 64
  prepare_workspace 192

  prepare pack(w, t) scratch 128
  prepare pack(t, w.packed) scratch 128
  together {
    call workspace(x, w.packed, y) scratch 0
    call workspace(x, w.packed, together) scratch 64
  }
}

kernel pack(w: f32[4] const, packed: f32[4] out) pack {
  packed[0] = w[3]
}

kernel workspace(x: f32[4] in, packed: f32[4] const, y: f32[4] out) pointwise {
  y[0] = x[0] * packed[0]
}
"""


@pytest.mark.parametrize("text", [TEXT, PROGRAM, PREPARED])
def test_text_is_a_fixed_point(text: str) -> None:
    assert format_loops(parse_loops(text)) == text


def test_spans_are_kept() -> None:
    program = parse_loops(PROGRAM)
    assert isinstance(program, Program)
    assert program.calls[0].span == Span("stdlib/nn.well", 7, 14, 9, 3)
    assert program.kernels[0].body[0].span == Span("models/mlp.well", 4, 5, 4, 20)
    assert program.constraints[0].span == Span("models/mlp.well", 3, 1, 3, 10)


@settings(max_examples=150, deadline=None)
@given(kernels())
def test_random_kernels_read_back_equal(kernel: Kernel) -> None:
    text = format_loops(kernel)
    assert parse_loops(text) == kernel
    assert format_loops(parse_loops(text)) == text


def _words() -> list[str]:
    patterns = (terminal.pattern.value for terminal in _parser().lark.terminals)
    return sorted({value for value in patterns if value.isidentifier()} | KEYWORDS)


@pytest.mark.parametrize("word", _words())
def test_keywords_are_names_too(word: str) -> None:
    x = Load(word, (index(0),), F32)
    less = Binary("lt", Var(word, F32), x)
    body = (
        Store(word, (index(1),), x),
        For("i", 4, "vector", (Store(word, (Var("i"),), x),)),
        Let(word, x),
        Store(word, (index(1),), Var(word, F32)),
        Store(word, (index(1),), Const(1.0, F32)),
        If(less, (Store(word, (index(1),), x),), (Store(word, (index(1),), x),)),
        Alloc(Buffer("r", F32, (), "register")),
        Store(word, (index(1),), x),
        Check(less, word),
        Store(word, (index(1),), x),
    )
    parameter = KernelParameter(Buffer(word, F32, (4,)), "inout")
    kernel = Kernel(word, (), (parameter,), body, word, ("a", word), 3)
    assert parse_loops(format_loops(kernel)) == kernel
    short = replace(kernel, body=body[:1])
    assert parse_loops(format_loops(short)) == short
    index_too = replace(kernel, body=(For(word, 4, "parallel", ()),))
    assert parse_loops(format_loops(index_too)) == index_too
    buffers = tuple(
        ProgramBuffer(Buffer(name, F32, (2,)), role)  # type: ignore[arg-type]
        for name, role in ((word, "input"), (f"{word}.x", "parameter"), ("out", "output"))
    )
    call = Call(word, (), (word, "out"))
    program = Program(word, (), buffers, (), (call, call), (kernel,))
    assert parse_loops(format_loops(program)) == program


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (4, 9)])
def test_constants_are_exact(dtype: DType, shape: tuple[int, ...]) -> None:
    bits = np.random.default_rng(0).integers(0, 256, (*shape, dtype.bytes), np.uint8)
    bits = bits % 2 if dtype == BOOL else bits
    data = bits.view(dtype.numpy).reshape(shape)
    item = ProgramBuffer(Buffer("c", dtype, shape), "constant", data)
    program = parse_loops(format_loops(Program("p", (), (item,), (), (), ())))
    assert isinstance(program, Program)
    read = program.buffers[0].data
    assert read is not None and read.dtype == data.dtype and read.shape == data.shape
    assert read.tobytes() == data.tobytes()


def test_small_constants_read_as_numbers() -> None:
    data = np.array([1, -2.5, 0], BF16.numpy)
    item = ProgramBuffer(Buffer("c", BF16, (3,)), "constant", data)
    text = format_loops(Program("p", (), (item,), (), (), ()))
    assert "constant c: bf16[3] = [1.0_bf16, -2.5_bf16, 0.0_bf16]" in text


def test_every_relation_reads_back() -> None:
    n = symbol("N")
    constraints = tuple(
        Constraint(2 * n, relation, floordiv(n, 3), f"m{relation}")
        for relation in ("==", "!=", "<=", "<", "%")
    )
    program = Program("p", ("N",), (), constraints, (), ())
    assert parse_loops(format_loops(program)) == program


def test_greater_reads_as_less_turned_round() -> None:
    program = parse_loops('program p[N] { require N >= 2, "m" }')
    assert isinstance(program, Program)
    assert program.constraints == (Constraint(2, "<=", symbol("N"), "m"),)


def test_names_from_two_files_of_one_stem() -> None:
    spans = [Span("a/m.well", 1, 1, 1, 2), Span("b/m.well", 1, 1, 1, 2)]
    body = tuple(For(f"i{n}", 1, "serial", (), span) for n, span in enumerate(spans))
    kernel = parse_kernel(format_loops(Kernel("k", (), (), body)))
    assert [statement.span for statement in statements(kernel.body)] == spans


def _kernel(body: str) -> str:
    return f"kernel k[N](x: f32[N] inout, ids: i64[N] in) pointwise {{\n  {body}\n}}"


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        (_kernel("let t: f32 = x[0"), "unexpected `}`; expected", "}"),
        (_kernel("let t: f64 = x[0]"), "`t` is declared f64, its value is f32", "x[0]"),
        (_kernel("let t: f99 = x[0]"), "`f99` is not an element type", "f99"),
        (_kernel("z[0] = 1.0"), "there is no buffer `z` here", "z"),
        (_kernel("x[0] = y"), "`y` is not defined here", "y"),
        (_kernel("x[0] = x"), "`x` is a buffer: an element of it is `x[...]`", "x"),
        (_kernel("x[0] = 1.0 + 1"), "the operands of + differ: f32 and i64", "1.0 + 1"),
        (_kernel("for i in 1..N { }"), "unexpected", "1.."),
        (_kernel("for i in 0..n { }"), "`n` is not defined here", "n"),
        (_kernel("for i in 0..ids[0] { }"), "a size is made of integers", "ids[0]"),
        (_kernel("if x[0] { }"), "a condition is bool, this is f32", "x[0]"),
        (_kernel("check N, \"m\""), "a condition is bool, this is i64", "N"),
        (_kernel("x[0] = 1.0  @nowhere:1:2-3"), "`nowhere` is not among the sources", "@nowhere"),
        (_kernel("alloc a: f32[N] shared"), "unexpected `shared`", "shared"),
        ("program p { constant c: f32[2] = [1.0] }", "its data has 1 elements", "[1.0]"),
        ("program p { constant c: f32[1] = [1] }", "an element of `c` is f32", "1]"),
        ('program p { constant c: f32[1] = base64 "?" }', "not f32 data in base64", "base64"),
        ("program p[N] { constant c: f32[N] = [1.0] }", "its shape must be numbers", "[1.0]"),
        ("program p { workspace 1 workspace 2 }", "a program has one workspace", "2"),
        ("program p { call k[M]() }", "`M` is not defined here", "M"),
        (_kernel("") + "\n" + _kernel(""), "this one has 2 kernels", "k[N]"),
        ("", "this one has neither", ""),
    ],
)  # fmt: skip
def test_mistakes_are_pointed_at(text: str, message: str, caret: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_loops(text)
    assert message in str(caught.value)
    span = caught.value.diagnostics[0].span
    line = text.split("\n")[span.line - 1]
    assert line[span.column - 1 :].startswith(caret)


def test_a_kernel_is_not_a_program() -> None:
    with pytest.raises(UserError, match="a kernel is expected here"):
        parse_kernel("program p { }")


def test_deep_nesting_is_an_error_with_a_place() -> None:
    with pytest.raises(UserError, match="nested too deeply"):
        parse_loops(_kernel("x[0] = " + "- " * 5000 + "1.0"))
    with pytest.raises(UserError, match="nested too deeply"):
        parse_loops(_kernel("if true { " * 5000 + "}" * 5000))


def test_dtypes_of_variables_come_from_the_text() -> None:
    kernel = parse_kernel(_kernel("let t: i64 = ids[0]\n  let u: f32 = f32(t)\n  x[t] = u"))
    assert kernel.body[2] == Store("x", (Var("t", I64),), Var("u", F32))
