"""Transformations refuse what is not legal, with a sentence that says why."""

from __future__ import annotations

import pytest

from stepwell.ir.diagnostics import PassError
from stepwell.ir.loop import parse_kernel
from stepwell.ir.passes import parse_pipeline, run_pipeline
from stepwell.lowering import passes  # noqa: F401  registers them

KERNEL = """
kernel k[N](x: f32[N, 6] in, y: f32[N] out) reduction {
  for i in 0..N {
    alloc acc: f32 register
    acc[] = 0.0
    for j in 0..6 {
      acc[] = acc[] * 2.0 + x[i, j]
    }
    y[i] = acc[]
  }
}
"""
REFUSED = {
    "split{loop=z,by=4}": "no loop over z",
    "split{loop=i,by=0}": "by=1 or more",
    "split{loop=i,by=4,tail=odd}": "tail=guard, bound or peel",
    "cut{loop=j,at=7}": "fewer than 7 iterations",
    "interchange{loop=i}": "not perfectly nested",
    "fuse_loops{loop=i}": "not perfectly nested",
    "unroll_and_jam{loop=i}": "extent of i is not constant",
    "split_reduction{loop=j,by=2}": "not a plain reduction",
    "block_reduction{loop=j,by=2,outer=i}": "not one plain reduction",
    "vectorize_reduction{loop=j}": "not a plain reduction",
    "vectorize_reduction{loop=j,lanes=3}": "power of two",
    "localize{loop=j,buffer=z}": "z is not a register",
    "unroll{loop=i}": "unroll would break a rule",
}


@pytest.mark.parametrize("pipeline", REFUSED)
def test_refused(pipeline: str) -> None:
    with pytest.raises(PassError, match=REFUSED[pipeline]):
        run_pipeline(parse_kernel(KERNEL), parse_pipeline(pipeline))


MORE = {
    "interchange{loop=i}": (
        """kernel k[N](y: f32[2 * N] out) pointwise {
             for i in 0..N { for j in 0..N { y[i + j] = f32(i) } } }""",
        "mixes the two indices",
    ),
    "unroll_and_jam{loop=i}": (
        """kernel k(x: f32[4, 4] in, y: f32[4] inout) pointwise {
             for i in 0..4 { for j in 0..4 { y[j] = y[j] * 0.5 + x[i, j] } } }""",
        "iterations of the loop over i depend on each other",
    ),
    "vectorize{loop=i}": (
        """kernel k(x: f32[8] in, y: f32[8] out) pointwise {
             alloc acc: f32 register
             acc[] = 0.0
             for i in 0..8 { acc[] = acc[] + x[i]  y[i] = acc[] } }""",
        "acc carries a value from one iteration to the next",
    ),
}


@pytest.mark.parametrize("pipeline", MORE)
def test_dependences_are_refused(pipeline: str) -> None:
    text, reason = MORE[pipeline]
    with pytest.raises(PassError, match=reason):
        run_pipeline(parse_kernel(text), parse_pipeline(pipeline))
