"""Hoist: move lets out of loops that they do not depend on.

    for i in 0..N { let s = exp(x[0]); y[i] = s * z[i] }
      →  let s = exp(x[0]); for i in 0..N { y[i] = s * z[i] }

A let moves if it reads no buffer that the loop stores to, and every load in it is safe even where
the loop would not run: of a register, or with a guard, or at subscripts that are constants within
the buffer's shape.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import kernel_buffers, writes
from stepwell.ir.loop.core import Block, Buffer, For, Kernel, Let, Statement
from stepwell.ir.scalar import Const, Expr, Horizontal, loads, variables, walk
from stepwell.lowering.transforms.navigate import replace_loop


def hoist(kernel: Kernel, index: str) -> Kernel:
    """Move out of the loop over `index` the lets that do not depend on it."""
    buffers = kernel_buffers(kernel)
    return replace(
        kernel, body=replace_loop(kernel.body, index, lambda loop: _hoisted(loop, buffers))
    )


def _hoisted(loop: For, buffers: dict[str, Buffer]) -> Block:
    stored = writes(loop.body)
    stays: set[str] = {loop.index}
    out: list[Statement] = []
    kept: list[Statement] = []
    for statement in loop.body:
        if isinstance(statement, Let) and _moves(statement.value, stays, stored, buffers):
            out.append(statement)
            continue
        if isinstance(statement, Let):
            stays.add(statement.name)
        kept.append(statement)
    return (*out, replace(loop, body=tuple(kept)))


def _moves(
    value: Expr, stays: set[str], stored: frozenset[str], buffers: dict[str, Buffer]
) -> bool:
    summed = {part.buffer for part in walk(value) if isinstance(part, Horizontal)}
    if variables(value) & stays or summed & stored:
        return False
    return all(
        load.buffer not in stored
        and (load.guard is not None or _inside(load.indices, load.buffer, buffers))
        for load in loads(value)
    )


def _inside(indices: tuple[Expr, ...], name: str, buffers: dict[str, Buffer]) -> bool:
    return all(
        isinstance(i, Const) and isinstance(extent, int) and 0 <= i.value < extent
        for i, extent in zip(indices, buffers[name].shape, strict=True)
    )
