"""Which loops are independent, and what their iterations need for themselves."""

from __future__ import annotations

import pytest

from stepwell.ir.loop import parse_kernel
from stepwell.ir.loop.core import For, statements
from stepwell.lowering.dependence import independent

# The loop over i in: parameters | body. What must be private; None where iterations depend.
CASES: dict[str, tuple[str, str, frozenset[str] | None]] = {
    "own elements": ("y: f32[N, 4] out", "y[i, 0] = 1.0  y[i, 3] = 2.0", frozenset()),
    "strided": ("y: f32[64] out", "for j in 0..4 { y[4*i + j] = 1.0 }", frozenset()),
    "blocks": ("y: f32[64] out", "for j in 0..min(4, 30 - 4*i) { y[4*i + j] = 1.0 }", frozenset()),
    "from one on": ("y: f32[N, 9] out", "y[i + 1, 0] = y[i + 1, 2]", frozenset()),
    "blocks from one on": ("y: f32[65] out", "for j in 0..4 { y[4*i + j + 1] = 1.0 }", frozenset()),
    "a window that moves back": (
        "y: f32[65] out",
        "for j in 0..i + 1 { for k in 0..5 - i { y[5*i + k - j] = 1.0 } }", None,
    ),
    "a window": ("y: f32[65] inout", "for j in 0..4 { y[4*i + j + 1] = y[4*i] }", None),
    "a masked tail": (
        "y: f32[99] out", "for j in 0..8 { if j < 5 { y[5*i + j] = 1.0 } }", frozenset(),
    ),
    "a mask too wide": (
        "y: f32[99] out", "for j in 0..8 { if j < 6 { y[5*i + j] = 1.0 } }", None,
    ),
    "the other side of a mask": (
        "y: f32[99] out", "for j in 0..8 { if j < 5 { } else { y[5*i + j] = 1.0 } }", None,
    ),
    "overlap": ("y: f32[64] out", "for j in 0..5 { y[4*i + j] = 1.0 }", None),
    "one element": ("y: f32[64] inout", "y[0] = y[0] + 1.0", None),
    "a neighbour is read": ("y: f32[64] inout", "y[i] = y[i + 1]", None),
    "backwards": ("y: f32[64] out", "y[63 - i] = 1.0", None),
    "another axis": ("y: f32[8, 8] out", "y[i, 0] = 1.0  y[0, i] = 2.0", None),
    "by data": ("y: f32[64] out, ids: i64[64] in", "y[ids[i]] = 1.0", None),
    "by data within": (
        "y: f32[64] out, ids: i64[8] in", "let d: i64 = ids[i]  y[8*i + d] = 1.0", None,
    ),
    "through a let": ("y: f32[64] out", "let at: i64 = 2*i  y[at + 1] = 1.0", frozenset()),
    "quotient and remainder": (
        "y: f32[9, 7] out", "for j in 0..7 { y[(7*i + j) // 7, (7*i + j) % 7] = 1.0 }", frozenset(),
    ),
    "a fused loop": ("y: f32[9, 7] out", "y[i // 7, i % 7] = 1.0", frozenset()),
    "quotient alone": ("y: f32[9, 7] out", "y[i // 7, 0] = 1.0", None),
    "scratch": (
        "y: f32[N, 4] out",
        "for j in 0..4 { s[j] = f32(i) } for k in 0..4 { y[i, k] = s[3 - k] }", frozenset({"s"}),
    ),
    "scratch filled once": (
        "y: f32[N, 4] out",
        "if i == 0 { for j in 0..4 { s[j] = 1.0 } } for k in 0..4 { y[i, k] = s[k] }", None,
    ),
    "scratch filled bit by bit": (
        "y: f32[N, 4] out", "s[i % 4] = 1.0 for k in 0..4 { y[i, k] = s[k] }", None,
    ),
    "scratch by data": (
        "y: f32[N] out, x: f32[N] in", "if x[i] > 0.0 { s[0] = x[i] } y[i] = s[0]", None,
    ),
    "scratch of its own": (
        "y: f32[N, 4] out", "alloc own: f32[4] scratch own[i % 4] = 1.0 y[i, 0] = own[i % 4]",
        frozenset({"own"}),
    ),
    "scratch apart": ("y: f32[N, 4] out", "s[i] = 1.0  y[i, 0] = s[i]", frozenset()),
    "a register outside": ("y: f32[N] out", "acc[] = acc[] + 1.0  y[i] = acc[]", None),
    "a register inside": (
        "y: f32[N] out", "alloc r: f32 register r[] = 1.0 y[i] = r[]", frozenset(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_independent(case: str) -> None:
    parameters, body, expected = CASES[case]
    kernel = parse_kernel(f"""
        kernel k[N]({parameters}) pointwise {{
          alloc s: f32[64] scratch
          alloc acc: f32 register
          acc[] = 0.0
          for i in 0..N {{ {body} }}
        }}""")
    loop = next(s for s in statements(kernel.body) if isinstance(s, For) and s.index == "i")
    assert independent(kernel, loop) == expected


def test_scratch_that_others_use_is_not_private() -> None:
    kernel = parse_kernel("""
        kernel k[N](y: f32[N] out) pointwise {
          alloc s: f32[1] scratch
          for i in 0..N { s[0] = f32(i)  y[i] = s[0] }
          for j in 0..N { y[j] = s[0] }
        }""")
    loop = kernel.body[1]
    assert isinstance(loop, For) and independent(kernel, loop) is None
