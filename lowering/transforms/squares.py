"""Squares: a copy whose lanes are strided becomes one of squares, each transposed in registers.

    for k in 0..64 { for l in 0..16 vector { packed[k, l] = x[l, k] } }
      →  for k_outer in 0..4 { for k_1 in 0..16 unrolled { for l in 0..16 vector {
           packed[16 * k_outer + k_1, l] = x[l, 16 * k_outer + k_1]
         } } }

Code generation makes loads of rows, shuffles and stores of the inner two loops, not gathers. Legal
always: the iterations keep their order.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import stores_of
from stepwell.ir.loop.core import Block, For, Kernel, Store, statements
from stepwell.ir.scalar import Expr, Load, as_dim, coefficient
from stepwell.lowering.transforms.navigate import replace_loop
from stepwell.lowering.transforms.split import split


def squares(kernel: Kernel, buffer: str) -> Kernel:
    """The loops that copy to `buffer`, cut to squares where rows of the source are contiguous."""
    for loop in [s for s in statements(kernel.body) if isinstance(s, For)]:
        lane = _lane_loop(loop.body)
        if lane is None or {s.buffer for s in stores_of((loop,))} != {buffer}:
            continue
        if isinstance(lane.extent, int) and _transposes(loop.index, lane):
            parts = split(kernel, loop.index, lane.extent, "peel")
            body = replace_loop(
                parts.kernel.body, parts.inner, lambda inner: (replace(inner, kind="unrolled"),)
            )
            kernel = replace(parts.kernel, body=body)
    return kernel


def _lane_loop(block: Block) -> For | None:
    """The vector loop that is all of a block."""
    if len(block) == 1 and isinstance(block[0], For) and block[0].kind == "vector":
        return block[0]
    return None


def _transposes(index: str, lane: For) -> bool:
    """Whether the loop over lanes copies columns of what is contiguous along `index`."""
    match lane.body:
        case (Store(indices=to, value=Load(indices=of, guard=None)),) if to and of:
            return _step(to[-1], lane.index) == 1 and _step(of[-1], index) == 1
    return False


def _step(subscript: Expr, index: str) -> object:
    dim = as_dim(subscript)
    return None if dim is None else coefficient(dim, index)
