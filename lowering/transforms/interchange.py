"""Interchange two perfectly nested loops.

    for i in 0..M { for j in 0..N { S } }   →   for j in 0..N { for i in 0..M { S } }

Legal where the inner extent does not depend on the outer index, no iteration reads what another one
stores, and stores to one element keep their order: no subscript mixes the two indices, unless it
tells them apart, as `16*i + j` with j in 0..16 does. What is read where it is stored, and nowhere
else, may be so: iterations that share an element, of one i or of one j, keep their order.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import allocations, index_names, loads_of, reads, stores_of, writes
from stepwell.ir.loop.core import Block, For, Kernel
from stepwell.ir.scalar import Expr, as_dim, coefficient, variables
from stepwell.ir.size import provably_le, symbols
from stepwell.lowering.transforms.navigate import ScheduleError, replace_loop


def interchange(kernel: Kernel, outer: str) -> Kernel:
    """Swap the loop over `outer` with the one that is its whole body."""

    def swapped(loop: For) -> Block:
        if len(loop.body) != 1 or not isinstance(loop.body[0], For):
            raise ScheduleError(f"the loop over {outer} is not perfectly nested")
        inner = loop.body[0]
        if outer in symbols(inner.extent):
            raise ScheduleError(f"the extent of {inner.index} depends on {outer}")
        _check_dependences(kernel, loop, inner)
        return (replace(inner, body=(replace(loop, body=inner.body),)),)

    return replace(kernel, body=replace_loop(kernel.body, outer, swapped))


def _check_dependences(kernel: Kernel, outer: For, inner: For) -> None:
    own = {buffer.name for buffer in allocations(inner.body)}
    stored = writes(inner.body) - own
    shared = stored & reads(inner.body)
    both = sorted(name for name in shared if not _at_one_place(name, outer, inner))
    if both:
        raise ScheduleError(f"{both[0]} is read and stored by different iterations")
    for store in stores_of(inner.body):
        for subscript in store.indices if store.buffer in stored else ():
            if not _keeps_order(subscript, outer, inner):
                raise ScheduleError(f"a subscript of {store.buffer} mixes the two indices")


def _at_one_place(name: str, outer: For, inner: For) -> bool:
    """Whether a buffer is read and stored at the same subscripts, one of which moves with one of
    the two indices alone."""
    places = {load.indices for load in loads_of(inner.body) if load.buffer == name}
    places |= {store.indices for store in stores_of(inner.body) if store.buffer == name}
    moving = {outer.index, inner.index, *index_names(inner.body)}
    alone = [s for s in places.pop() for i in (outer, inner) if variables(s) & moving == {i.index}]
    return not places and any(_is_affine(subscript) for subscript in alone)


def _is_affine(subscript: Expr) -> bool:
    """Whether equal subscripts are of equal indices: the one index has a constant factor."""
    dim = as_dim(subscript)
    used = variables(subscript)
    return dim is not None and all(isinstance(coefficient(dim, i), int) for i in used)


def _keeps_order(subscript: Expr, outer: For, inner: For) -> bool:
    if not {outer.index, inner.index} <= variables(subscript):
        return True
    dim = as_dim(subscript)
    steps = [None if dim is None else coefficient(dim, loop.index) for loop in (outer, inner)]
    if steps[0] is None or steps[1] is None:
        return False
    return provably_le(steps[1] * inner.extent, steps[0]) or provably_le(
        steps[0] * outer.extent, steps[1]
    )
