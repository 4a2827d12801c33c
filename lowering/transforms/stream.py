"""Stream: stores that go past the caches, where what a kernel moves does not stay in them.

    for i in 0..4096 { for l in 0..16 vector { y[i, l] = x[i, l] * 2.0 } }
      →  for i in 0..4096 { for l in 0..16 vector { y[i, l] = x[i, l] * 2.0 stream } }

A plain store reads its line from memory before it changes it; a streamed one does not, and leaves
the cache to what is read again. Worth it for results that are written once, whole vectors at a
time, and that the kernel does not read.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import reads
from stepwell.ir.loop.core import Block, For, If, Kernel, Statement, Store, bytes_moved
from stepwell.ir.scalar import as_dim, coefficient, variables


def stream(kernel: Kernel, room: int) -> Kernel:
    """Stream the results of a kernel whose parameters take more than `room` bytes."""
    moved = bytes_moved(kernel)
    if not isinstance(moved, int) or moved <= room:
        return kernel
    once = {p.buffer.name for p in kernel.parameters if p.role == "out"} - reads(kernel.body)
    return replace(kernel, body=_block(kernel.body, once, ()))


def _block(block: Block, once: set[str], loops: tuple[For, ...]) -> Block:
    def streamed(statement: Statement) -> Statement:
        match statement:
            case For(body=body):
                return replace(statement, body=_block(body, once, (*loops, statement)))
            case If(then=then, otherwise=otherwise):
                return replace(
                    statement,
                    then=_block(then, once, loops),
                    otherwise=_block(otherwise, once, loops),
                )
            case Store(buffer=name) if name in once and _writes_vectors(statement, loops):
                return replace(statement, stream=True)
        return statement

    return tuple(map(streamed, block))


def _writes_vectors(store: Store, loops: tuple[For, ...]) -> bool:
    """Whether lanes are neighbours and each element is written in one iteration only."""
    lanes = [loop.index for loop in loops if loop.kind == "vector"]
    if not lanes or not store.indices:
        return False
    *outer, last = store.indices
    dim = as_dim(last)
    if dim is None or coefficient(dim, lanes[0]) != 1:
        return False
    used = frozenset().union(*map(variables, store.indices))
    in_lane = any(lanes[0] in variables(subscript) for subscript in outer)
    return not in_lane and all(loop.index in used for loop in loops)
