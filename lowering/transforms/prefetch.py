"""Prefetch: ask for the rows that a loop reads some turns later, as it reads those of this turn.

    for i in 0..4096 {                            for i in 0..4096 {
      for j in 0..16 {                              for j in 0..16 {
        for u in 0..4 unrolled {                      prefetch x[i + 1, 64*j]
          for l in 0..16 vector {            →        … x[i + 1, 64*j + 16], + 32, + 48
            m[u, l] = m[u, l] + x[i, 64*j + …]        for u in 0..4 unrolled { … }
          }                                         }
        }                                           …
      }                                           }
      …
    }

The processor's own prefetchers stop at the end of a page, which for long rows is the end of a row.
Of each input the first walk along its last axis asks, once per line. Legal always: a prefetch means
nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from stepwell.ir.loop.analysis import loads_of
from stepwell.ir.loop.core import Block, For, Kernel, Prefetch, statements
from stepwell.ir.scalar import Load, as_dim, coefficient, from_dim
from stepwell.ir.size import Dim, substitute, symbol, symbols
from stepwell.lowering.transforms.navigate import find_loop, replace_loop


def prefetch(kernel: Kernel, index: str, distance: int, line: int) -> Kernel:
    """Prefetch what the loop over `index` reads `distance` turns later, line by line (in bytes)."""
    inputs = {p.buffer.name for p in kernel.parameters if not p.is_written}
    later = {index: symbol(index) + distance}
    body = kernel.body
    for walk in _walks(find_loop(body, index).body):
        hints: list[Prefetch] = []
        for load in loads_of(walk.body):
            lines = _lines(load, walk, line) if load.buffer in inputs else []
            if lines and any(index in symbols(dim) for dim in lines[0]):
                inputs.discard(load.buffer)
                ahead = [tuple(from_dim(substitute(d, later)) for d in place) for place in lines]
                hints += [Prefetch(load.buffer, place, walk.span) for place in ahead]
        if hints:
            asking = (replace(walk, body=(*hints, *walk.body)),)
            body = replace_loop(body, walk.index, partial(_instead, asking))
    return kernel if body is kernel.body else replace(kernel, body=body)


def _instead(block: Block, _: For) -> Block:
    return block


def _walks(block: Block) -> list[For]:
    """The innermost serial loops, in order."""
    serial = [s for s in statements(block) if isinstance(s, For) and s.kind == "serial"]
    return [s for s in serial if not any(inner in statements(s.body) for inner in serial)]


def _lines(load: Load, walk: For, line: int) -> list[tuple[Dim, ...]]:
    """Where the lines begin that one turn of a walk reads; none where it reads no run of them."""
    dims = [as_dim(subscript) for subscript in load.indices]
    chunk = {s.index: s.extent for s in statements(walk.body) if isinstance(s, For)}
    if not dims or None in dims:
        return []
    *outer, last = [dim for dim in dims if dim is not None]
    if coefficient(last, walk.index) in (0, None) or any(chunk.keys() & symbols(d) for d in outer):
        return []
    steps = [(coefficient(last, name), name) for name in chunk if name in symbols(last)]
    together: Dim = 1
    for step, name in sorted((s, n) for s, n in steps if isinstance(s, int)):
        if step != together:
            return []
        together = together * chunk[name]
    if together != coefficient(last, walk.index):
        return []
    first = substitute(last, dict.fromkeys(chunk, 0))
    assert isinstance(together, int), "what is in a vector loop is counted"
    return [(*outer, first + k) for k in range(0, together, line // load.dtype.bytes)]
