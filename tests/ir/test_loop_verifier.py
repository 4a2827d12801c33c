"""Each rule of the loop IR is found broken, and the line at fault is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from loop_kernels import kernels

from stepwell.ir.diagnostics import VerifyError
from stepwell.ir.dtypes import BOOL, F16, F32, F64, I64
from stepwell.ir.loop import parse_kernel, parse_loops, verify_kernel, verify_loops
from stepwell.ir.loop.analysis import canonical
from stepwell.ir.loop.core import (
    Alloc,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    KernelParameter,
    Let,
    Program,
    ProgramBuffer,
    Statement,
    Store,
)
from stepwell.ir.scalar import (
    Axis,
    Binary,
    Const,
    Expr,
    Horizontal,
    Load,
    Philox,
    Reduce,
    Select,
    Unary,
    Var,
    index,
)
from stepwell.ir.size import symbol

HEAD = "kernel k[N](x: f32[N, 8] in, ids: i64[N] in, y: f32[N, 8] out, h: f16[8] in) pointwise"


@settings(max_examples=100, deadline=None)
@given(kernels())
def test_random_kernels_keep_the_rules(kernel: Kernel) -> None:
    verify_kernel(kernel)
    verify_kernel(canonical(kernel))


@pytest.mark.parametrize(
    ("body", "message", "line"),
    [
        ("for i in 0..N { } for i in 0..2 { }", "`i` is used twice", "for i in 0..2 {"),
        ("for N in 0..2 { }", "`N` is used twice", "for N in 0..2 {"),
        ("let t: f32 = 1.0  let t: f32 = 2.0", "`t` is used twice", "let t: f32 = 2.0"),
        ("alloc x: f32 register", "`x` is used twice", "alloc x: f32 register"),
        ("for i in 0..N { for l in 0..i vector { } }", "is a number", "for l in 0..i vector {"),
        ("for u in 0..N unrolled { }", "is a number", "for u in 0..N unrolled {"),
        ("for l in 0..6 vector { }", "is a power of two", "for l in 0..6 vector {"),
        (
            "for u in 0..1000 unrolled { for v in 0..1000 unrolled { y[u, v] = 1.0 } }",
            "unrolled, this is 1000000 instructions",
            "for u in 0..1000 unrolled {",
        ),
        (
            "for l in 0..8 vector { for m in 0..8 vector { } }",
            "vector loops do not nest",
            "for m in 0..8 vector {",
        ),
        (
            "for l in 0..8 vector { for i in 0..8 { } }",
            "a vector loop holds no serial loop",
            "for i in 0..8 {",
        ),
        ("let t: i64 = ids[0] for i in 0..t { }", "depends on `t`", "for i in 0..t {"),
        ("x[0, 0] = 1.0", "it is not written", "x[0, 0] = 1.0"),
        ("alloc a: f32 register a[] = 1.0 stream", "is not streamed", "a[] = 1.0 stream"),
        ("alloc a: f32[4] register prefetch a[0]", "is not in memory", "prefetch a[0]"),
        ("prefetch x[0]", "`x` has 2 dimensions, 1 subscripts", "prefetch x[0]"),
        ("prefetch x[ids[0], 0]", "of indices and sizes", "prefetch x[ids[0], 0]"),
        ("for l in 0..8 vector { prefetch x[0, l] }", "holds no prefetch", "prefetch x[0, l]"),
        ("y[0] = 1.0", "`y` has 2 dimensions, 1 subscripts", "y[0] = 1.0"),
        ("y[0, 0] = x[0]", "`x` has 2 dimensions, 1 subscripts", "y[0, 0] = x[0]"),
        ("y[0, 0] = 1.0_f64", "`y` holds f32, the value is f64", "y[0, 0] = 1.0_f64"),
        ("y[0, 0] = f32(h[0] * h[1])", "cast to f32 first", "y[0, 0] = f32(h[0] * h[1])"),
        ("alloc a: f32[N] register", "made of numbers", "alloc a: f32[N] register"),
        (
            "for i in 0..N parallel { alloc a: f32[4] scratch }",
            "would be shared",
            "alloc a: f32[4] scratch",
        ),
        (
            "for i in 0..N parallel { for j in 0..8 { y[0, j] = 1.0 } }",
            "every iteration of the parallel loop writes this of `y`",
            "y[0, j] = 1.0",
        ),
        (
            "alloc a: f32[4] register for i in 0..4 { a[i] = 1.0 }",
            "constant once unrolled loops are unrolled",
            "a[i] = 1.0",
        ),
        (
            "alloc a: f32[8] register for l in 0..4 vector { a[l] = 1.0 }",
            "the last dimension of `a` is 8, the vector loop's extent 4",
            "a[l] = 1.0",
        ),
        (
            "alloc a: f32[4] register for l in 0..4 vector { a[l] = 1.0 } y[0, 0] = a[0]",
            "`a` is accessed as a vector in one place, not in another",
            "y[0, 0] = a[0]",
        ),
        (
            "alloc a: f32[3] register y[0, 0] = hsum(a)",
            "`a` has 3 lanes: not a power of two",
            "y[0, 0] = hsum(a)",
        ),
        (
            "alloc a: f32[3, 4] register y[0, 0] = hsum(a[3])",
            "`a`: the subscript 3 can leave its axis of 3",
            "y[0, 0] = hsum(a[3])",
        ),
        ("y[0, 0] = hsum(x)", "`x` is not in registers", "y[0, 0] = hsum(x)"),
        (
            "alloc a: f32[4] register y[0, 0] = select(hany(a) == 1.0, 1.0, 0.0)",
            "hany does not take f32",
            "y[0, 0] = select(hany(a) == 1.0, 1.0, 0.0)",
        ),
    ],
)
def test_broken_rules(body: str, message: str, line: str) -> None:
    with pytest.raises(VerifyError) as caught:
        verify_kernel(parse_kernel(f"{HEAD} {{ {body} }}"))
    assert message in caught.value.message
    assert caught.value.fault == line
    assert f"  | {line}\n  | {'^' * len(line)}" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "for i in 0..N parallel { let r: i64 = ids[i] y[r, 0] = 1.0 }",
        "for i in 0..N parallel { if i == 0 { y[0, 0] = 1.0 } }",
        "for i in 0..N parallel { for k in 0..i { y[k + i, 0] = 1.0 } }",
        "for i in 0..N parallel { alloc a: f32 register a[] = 1.0 y[i, 0] = a[] }",
        "for l in 0..8 vector { for u in 0..3 unrolled { y[u, l] = 1.0 } }",
        "alloc a: f32[2, 8] register for u in 0..2 unrolled { for l in 0..8 vector {"
        " a[1 - u, l] = 1.0 } } y[0, 0] = hmax(a)",
    ],
)
def test_what_is_allowed(body: str) -> None:
    verify_kernel(parse_kernel(f"{HEAD} {{ {body} }}"))


def _kernel(*body: Statement) -> Kernel:
    x = Buffer("x", F32, (symbol("N"),))
    half = Buffer("h", F16, (4,))
    roles = (KernelParameter(x, "inout"), KernelParameter(half, "in"))
    return Kernel("k", ("N",), roles, body)


def _value(value: Expr) -> Statement:
    return Store("x", (index(0),), value)


ONE = Const(1.0, F32)
X0 = Load("x", (index(0),), F32)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (_value(Var("t", F32)), "`t` is not defined here"),
        (_value(Var("N", F32)), "`N` is i64, used as f32"),
        (_value(Load("z", (), F32)), "there is no buffer `z`"),
        (_value(Load("x", (index(0),), F64)), "`x` holds f32, read as f64"),
        (_value(Load("x", (ONE,), F32)), "a subscript is i64, this is f32"),
        (Store("x", (ONE,), ONE), "a subscript is i64, this is f32"),
        (Store("z", (), ONE), "there is no buffer `z`"),
        (_value(Load("x", (index(0),), F32, index(1))), "a guard is bool"),
        (_value(Binary("add", X0, index(1))), "the operands of + differ: f32 and i64"),
        (_value(Binary("plus", X0, ONE)), "there is no operator `plus`"),
        (_value(Binary("and", X0, ONE)), "and does not take f32"),
        (_value(Unary("negate", X0)), "there is no operator `negate`"),
        (_value(Unary("not", X0)), "not does not take f32"),
        (Let("t", Unary("exp", index(1))), "exp does not take i64"),
        (Let("t", Unary("neg", Const(True, BOOL))), "neg does not take bool"),
        (Let("t", Binary("div", index(1), index(2))), "/ does not take i64"),
        (_value(Select(index(1), X0, X0)), "select chooses by bool"),
        (_value(Select(Const(True, BOOL), X0, index(1))), "select's values differ"),
        (Let("t", Philox(index(0), X0, index(0), 0)), "a counter and a key in i64, this is f32"),
        (Let("t", Philox(index(0), index(0), index(0), 4)), "gives the words 0 to 3, not 4"),
        (_value(Reduce("sum", (Axis("k", 3),), X0)), "stands in formulas only"),
        (Let("t", Const(2**63, I64)), "does not fit i64"),
        (_value(Horizontal("sum", "x", F32)), "`x` is not in registers"),
        (If(X0, ()), "a condition is bool, this is f32"),
        (Check(index(1), "m"), "a condition is bool, this is i64"),
        (Alloc(Buffer("a", F32, (4,))), "in scratch or in registers"),
        (Alloc(Buffer("a", F32, (symbol("i"),), "scratch")), "depends on `i`"),
        (For("i", symbol("K"), "serial", ()), "depends on `K`"),
    ],
)
def test_records_that_no_text_gives(statement: Statement, message: str) -> None:
    with pytest.raises(VerifyError) as caught:
        verify_kernel(_kernel(statement))
    assert message in caught.value.message
    assert caught.value.fault


def test_names_end_with_their_block() -> None:
    kernel = _kernel(If(Const(True, BOOL), (Let("t", ONE),)), _value(Var("t", F32)))
    with pytest.raises(VerifyError, match="`t` is not defined here"):
        verify_kernel(kernel)


def test_signatures() -> None:
    kernel = _kernel()
    with pytest.raises(VerifyError, match="flops depends on `K`"):
        verify_kernel(replace(kernel, flops=symbol("K")))
    with pytest.raises(VerifyError, match="`x` is used twice"):
        verify_kernel(replace(kernel, parameters=kernel.parameters * 2))
    register = KernelParameter(Buffer("r", F32, (2,), "register"), "in")
    with pytest.raises(VerifyError, match="`r` is a parameter, so it is in memory"):
        verify_kernel(replace(kernel, parameters=(register,)))


PROGRAM = """
program p[N] {
  input x: f32[N, 4]
  parameter w: f32[4]
  constant c: f32[2] = [1.0, 2.0]
  temporary t: f32[N, 4] at 0
  output y: f32[N, 4]
  workspace 64 + 16*N
  call k[N](x, w, t) scratch 16*N
  call k[N](t, w, y) scratch 16*N
}
kernel k[M](a: f32[M, 4] in, b: f32[4] in, o: f32[M, 4] out) pointwise {
  alloc s: f32[4] scratch
}
"""


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("k[N](x, w, t)", "j[N](x, w, t)", "there is no kernel `j`", "call j[N]"),
        ("k[N](x, w, t)", "k(x, w, t)", "takes 1 size, given 0", "call k(x, w, t)"),
        ("k[N](x, w, t)", "k[N](x, t)", "takes 3 arguments, given 2", "call k[N](x, t)"),
        ("k[N](x, w, t)", "k[N](x, z, t)", "there is no buffer `z`", "call k[N](x, z, t)"),
        ("k[N](x, w, t)", "k[2*N](x, w, t)", "`a` of `k` is f32[2*N, 4], `x` is", "call k"),
        ("k[N](x, w, t)", "k[N](x, c, t)", "`b` of `k` is f32[4], `c` is f32[2]", "call k"),
        ("k[N](x, w, t)", "k[N](y, w, t)", "`y` is read before it is written", "call k[N](y"),
        ("k[N](x, w, t)", "k[N](x, w, x)", "`x` is an input: it is not written", "call k"),
        ("k[N](t, w, y)", "k[N](t, w, t)", "one argument only", "call k[N](t, w, t)"),
        ("k[N](t, w, y)", "k[N](x, w, t)", "this output is never written", "output y"),
        ("w, y) scratch 16*N", "w, y)", "`k` needs scratch", "call k[N](t, w, y)"),
        ("4] at 0", "4]", "there is a workspace, but no offset", "temporary t: f32[N, 4]"),
        ("output y: f32[N, 4]", "output y: f32[N, 4] at 0", "only temporaries", "output y"),
        ("workspace 64 + 16*N", "", "there is an offset, but no workspace", "temporary t"),
        ("parameter w", "parameter x", "there are two buffers called `x`", ""),
        ("program p[N]", "program p[N, N]", "there are two sizes called `N`", ""),
        ("constant c: f32[2] = [1.0, 2.0]", "constant c: f32[2]", "a constant has data", "cons"),
    ],
)
def test_broken_programs(old: str, new: str, message: str, line: str) -> None:
    assert old in PROGRAM
    with pytest.raises(VerifyError) as caught:
        verify_loops(parse_loops(PROGRAM.replace(old, new)))
    assert message in caught.value.message
    assert caught.value.fault.startswith(line)


def test_a_program_that_keeps_the_rules() -> None:
    verify_loops(parse_loops(PROGRAM))


def test_programs_that_no_text_gives() -> None:
    program = parse_loops(PROGRAM)
    assert isinstance(program, Program)
    with pytest.raises(VerifyError, match="there are two kernels called `k`"):
        verify_loops(replace(program, kernels=program.kernels * 2))
    wrong = ProgramBuffer(Buffer("d", F32, (2,)), "constant", np.zeros(3, "f4"))
    with pytest.raises(VerifyError, match="the data is float32\\[3\\]"):
        verify_loops(replace(program, buffers=(*program.buffers, wrong)))
    with pytest.raises(VerifyError, match="the workspace depends on `K`, which is no size"):
        verify_loops(replace(program, workspace=symbol("K")))
    broken = replace(program.kernels[0], body=(Store("o", (), ONE),))
    with pytest.raises(VerifyError, match="`o` has 2 dimensions, 0 subscripts"):
        verify_loops(replace(program, kernels=(broken,)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("workspace 128", "workspace 64", "ends at byte 68 of 64"),
        ("at 64", "at 128", "the buffer ends at byte 132 of 128"),
        ("at 64", "at -64", "the buffer ends at byte"),
        ("scratch 0", "scratch 64", "the scratch of `k` ends at byte 192 of 128"),
    ],
)
def test_a_plan_stays_in_the_workspace(old: str, new: str, message: str) -> None:
    text = """
program p {
  input x: f32[1]
  output y: f32[1]
  temporary t: f32[1] at 64
  workspace 128
  call k(x, t) scratch 0
  call k(t, y) scratch 0
}
kernel k(a: f32[1] in, b: f32[1] out) pointwise {
  alloc s: f32[32] scratch
  for i in 0..1 {
    s[i] = a[i]
    b[i] = s[i]
  }
}
"""
    program = parse_loops(text)
    verify_loops(program)
    with pytest.raises(VerifyError, match=message):
        verify_loops(parse_loops(text.replace(old, new)))


TOGETHER = """
program p {
  input x: f32[1]
  output y: f32[1]
  output z: f32[1]
  temporary t: f32[1] at 0
  temporary u: f32[1] at 64
  workspace 384
  together {
    call k(x, t) scratch 128
    call k(x, u) scratch 256
  }
  together {
    call k(t, y) scratch 128
    call k(t, z) scratch 256
  }
}
kernel k(a: f32[1] in, b: f32[1] out) pointwise {
  for i in 0..1 {
    alloc s: f32[32] scratch
    s[i] = a[i]
    b[i] = s[i]
  }
}
"""


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("(t, z)", "(y, z)", "`y` is written beside a call that has it: `k`", "call k(y, z)"),
        ("(x, u)", "(x, t)", "`t` is written beside a call that has it: `k`", "call k(x, t)"),
        ("at 64", "at 0", "`u` shares memory with `t` of `k`", "call k(x, u)"),
        ("at 64", "at 128", "`u` shares memory with the scratch of `k`", "call k(x, u)"),
        ("scratch 256", "scratch 192", "the scratch shares memory with the scratch", "call k(x"),
        ("0..1", "0..1 parallel", "`k` has a parallel loop: its calls are beside none", "call k(x"),
    ],
)
def test_calls_together_are_apart(old: str, new: str, message: str, line: str) -> None:
    verify_loops(parse_loops(TOGETHER))
    with pytest.raises(VerifyError) as caught:
        verify_loops(parse_loops(TOGETHER.replace(old, new)))
    assert message in caught.value.message
    assert caught.value.fault.startswith(line)


def test_the_first_call_is_beside_none() -> None:
    program = parse_loops(TOGETHER)
    assert isinstance(program, Program)
    first, *others = program.calls
    with pytest.raises(VerifyError, match="there is no call before the first"):
        verify_loops(replace(program, calls=(replace(first, beside=True), *others)))


def test_a_symbolic_plan_is_tried() -> None:
    text = """
program p[N] {
  input x: f32[N]
  output y: f32[N]
  temporary t: f32[N] at 0
  workspace 64*N
  call k[N](x, t)
  call k[N](t, y)
}
kernel k[N](a: f32[N] in, b: f32[N] out) pointwise {
  for i in 0..N { b[i] = a[i] }
}
"""
    verify_loops(parse_loops(text))
    with pytest.raises(VerifyError, match="at N = "):
        verify_loops(parse_loops(text.replace("64*N", "3*N")))


PREPARED = """
program p[N] {
  input x: f32[4]
  parameter w: f32[4]
  parameter state: f32[4]
  prepared t: f32[4] at 0
  prepared u: f32[4]
  output y: f32[4]
  workspace 0
  prepare_workspace 64
  prepare pack(w, t)
  prepare pack(t, u)
  call use(x, u, y)
  call update(x, state)
}
kernel pack(a: f32[4] const, b: f32[4] out) pack { b[0] = a[0] }
kernel use(a: f32[4] in, b: f32[4] const, c: f32[4] out) pointwise { c[0] = a[0] * b[0] }
kernel update(a: f32[4] in, b: f32[4] inout) pointwise { b[0] = b[0] + a[0] }
"""


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("pack(w, t)", "pack(x, t)", "`x` is read before it is written", "prepare pack(x"),
        ("pack(w, t)", "pack(u, t)", "`u` is read before it is written", "prepare pack(u"),
        ("pack(w, t)", "pack(w, y)", "`y` is an output: a preparation does not", "prepare pack"),
        ("update(x, state)", "use(x, x, y)", "`x` is an input: not known before", "call use(x, x"),
        ("call use(x, u, y)", "call pack(w, u)", "`u` is known before any run", "call pack(w"),
        ("update(x, state)", "update(x, w)", "`w` is known before any run", "call update(x, w"),
        ("u: f32[4]", "u: f32[4] at 0", "only temporaries lie in the workspace", "prepared u"),
        ("t: f32[4] at 0", "t: f32[4]", "there is a workspace, but no offset", "prepared t"),
        ("t: f32[4] at 0", "t: f32[4] at 64", "ends at byte 80 of 64 bytes", "prepared t"),
        ("workspace 64", "workspace 64*N", "to prepare in is a number", ""),
        ("t: f32[4] at 0", "t: f32[N] at 0", "has a shape of numbers", "prepared t"),
        ("b[0] = a[0] }", "for i in 0..4 parallel { b[i] = a[i] } }", "in one thread", "prepare"),
        ("prepare pack(t, u)", "", "this is never prepared", "prepared u"),
    ],
)
def test_broken_preparations(old: str, new: str, message: str, line: str) -> None:
    assert old in PREPARED
    verify_loops(parse_loops(PREPARED))
    with pytest.raises(VerifyError) as caught:
        verify_loops(parse_loops(PREPARED.replace(old, new)))
    assert message in caught.value.message
    assert caught.value.fault.startswith(line)
