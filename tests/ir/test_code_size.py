"""The estimate of code size follows unrolled loops, and what functions cost."""

from __future__ import annotations

from stepwell.ir.loop import parse_loops
from stepwell.ir.loop.code_size import LOOP, code_size

KERNEL = """
kernel k[N](x: f32[N, 4, 8] in, y: f32[N, 4, 8] out) pointwise {
  for i in 0..N { for r in 0..4 %s { for l in 0..8 vector { y[i, r, l] = %s } } }
}"""


def _size(kind: str, value: str) -> int:
    return code_size(parse_loops(KERNEL % (kind, value)).body)


def test_unrolled_bodies_count_as_often_as_they_are_repeated() -> None:
    body = LOOP + 3  # the vector loop; load, multiply, store
    assert _size("", "x[i, r, l] * 2.0") == LOOP + LOOP + body
    assert _size("unrolled", "x[i, r, l] * 2.0") == LOOP + 4 * body


def test_functions_count_for_what_they_become() -> None:
    assert _size("", "exp(x[i, r, l])") > _size("", "-x[i, r, l]") + 8
