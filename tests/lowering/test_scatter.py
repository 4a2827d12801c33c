"""Sums of what an index sends: one go over what is sent, with the same bits as the naive nest."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.loop import format_kernel, parse_kernel, verify_kernel
from stepwell.ir.loop.checking import KERNELS
from stepwell.ir.loop.core import If, Kernel, statements
from stepwell.lowering.transforms.scatter import scatter_sums

KERNEL = """
kernel k[N](ids: i32[3, N] in, x: f32[N, 6] in, b: f32[5] in, y: f32[5, 6] out) reduction {
  for v in 0..5 {
    for d in 0..6 {
      let bias: f32 = b[v]
      alloc acc: f32 register
      acc[] = 0.0
      for m in 0..3 {
        for n in 0..N {
          let row: f32 = x[n, d] * 2.0
          acc[] = acc[] + select(i64(ids[m, n]) == v, row, 0.0)
        }
      }
      y[v, d] = acc[] + bias
    }
  }
}
"""


def in_one_go(text: str) -> Kernel | None:
    """The kernel after the transformation; None where it does not apply."""
    kernel = parse_kernel(text)
    made = scatter_sums(kernel)
    return None if made is kernel else made


def test_each_row_is_added_where_it_belongs() -> None:
    kernel, made = parse_kernel(KERNEL), in_one_go(KERNEL)
    assert made is not None
    verify_kernel(made)
    assert parse_kernel(format_kernel(made)) == made
    assert any(isinstance(s, If) for s in statements(made.body))
    random = np.random.default_rng(0)
    inputs = KERNELS.sample(kernel, random)
    assert inputs is not None
    inputs = {**inputs, "ids": random.integers(-1, 6, inputs["ids"].shape).astype(np.int32)}
    expected, found = (KERNELS.interpret(k, inputs) for k in (kernel, made))
    np.testing.assert_array_equal(found["y"], expected["y"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x[n, d] * 2.0", "x[n, d] * bias"),  # what is added depends on where it goes
        ("x[n, d] * 2.0", "x[n, d] * f32(v)"),
        ("== v", "<= v"),
        ("row, 0.0)", "row, 1.0)"),
        ("acc[] = 0.0", "acc[] = 1.0"),
        ("i64(ids[m, n])", "i64(row)"),
        ("for n in 0..N", "for n in 0..0"),
    ],
)
def test_other_sums_are_left_alone(old: str, new: str) -> None:
    assert old in KERNEL
    assert in_one_go(KERNEL.replace(old, new)) is None
