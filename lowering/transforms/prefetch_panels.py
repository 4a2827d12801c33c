"""Prefetch panels: a loop over their rows asks for what it will read some bytes later.

    for k in 0..K { … panels[j, k, 16*u + l] … }                     panels: f32[J, K, 32]
      →
    for k in 0..K {
      prefetch panels[j, k + 96, 0]
      prefetch panels[j, k + 96, 16]
      … panels[j, k, 16*u + l] …
    }

Legal always. Behind the last row of one panel is the first of the next: that is what the end of the
loop asks for. It pays where panels come from far: the processor sees by itself what comes next, but
no further than to the end of a page, and after some misses in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stepwell.ir.loop.analysis import kernel_buffers, loads_of
from stepwell.ir.loop.core import Buffer, For, Kernel, Prefetch
from stepwell.ir.scalar import Expr, Load, Var, from_dim
from stepwell.ir.scalar import index as scalar_index
from stepwell.ir.size import product, symbol
from stepwell.lowering.transforms.navigate import find_loop, replace_loop


def prefetch_panels(kernel: Kernel, index: str, buffer: str, ahead: int, line: int) -> Kernel:
    """Prefetch lines of `line` bytes of the buffer, `ahead` bytes early, in the loop over `index`,
    where that is a subscript and those after it stay in a row of constant size."""
    loop, array = find_loop(kernel.body, index), kernel_buffers(kernel)[buffer]
    read = _first_read(loop, buffer)
    hints = () if read is None else tuple(_hints(array, read, loop, ahead, line))
    asking = replace(loop, body=(*hints, *loop.body))
    return replace(kernel, body=replace_loop(kernel.body, index, lambda _: (asking,)))


def _first_read(loop: For, buffer: str) -> Load | None:
    found = (load for load in loads_of(loop.body) if load.buffer == buffer)
    return next((load for load in found if Var(loop.index) in load.indices), None)


def _hints(array: Buffer, read: Load, loop: For, ahead: int, line: int) -> Iterator[Prefetch]:
    place = read.indices.index(Var(loop.index))
    inside = array.shape[place + 1 :]
    row = product(inside)
    if not isinstance(row, int):
        return
    steps = -(-ahead // (row * array.dtype.bytes))
    later = from_dim(symbol(loop.index) + steps)
    for element in range(0, row, max(1, line // array.dtype.bytes)):
        subscripts = (*read.indices[:place], later, *_position(element, inside))
        yield Prefetch(array.name, subscripts, loop.span)


def _position(element: int, shape: tuple[object, ...]) -> Iterator[Expr]:
    """The subscripts of an element of a row-major array."""
    places = []
    for extent in reversed(shape):
        assert isinstance(extent, int)
        element, place = divmod(element, extent)
        places.append(scalar_index(place))
    yield from reversed(places)
