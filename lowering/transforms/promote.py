"""Promote a sum in memory to a register: the loop over its terms goes inside.

    for i in 0..I {                            for j in 0..J {
      for j in 0..J {                            alloc total: f32 register
        s[j] = s[j] + x[i, j]            →       total[] = s[j]
      }                                          for i in 0..I { total[] = total[] + x[i, j] }
    }                                            s[j] = total[]
                                               }

Legal where the loops are a perfect nest around one such store, whose subscripts are all of the
nest's other indices, and no extent depends on one of these. Each element adds up the same terms in
the same order.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import fresh_name, kernel_buffers, taken_names
from stepwell.ir.loop.core import Alloc, Block, Buffer, Kernel, Let, Store
from stepwell.ir.scalar import Binary, Expr, Load, Var, loads
from stepwell.ir.size import symbols
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop
from stepwell.lowering.transforms.reorder import perfect_nest


def promote(kernel: Kernel, index: str) -> Kernel:
    """Bring the loop over `index`, the outermost of its nest, inside the others, as a sum."""
    loop = find_loop(kernel.body, index)
    around = [find_loop((loop,), name) for name in perfect_nest(kernel, index)[1:]]
    *others, store = around[-1].body if around else loop.body
    lets = [s for s in others if isinstance(s, Let)]
    if not isinstance(store, Store) or len(lets) < len(others):
        raise ScheduleError(f"the loop over {index} is not around one store")
    before, value = _sum(store)
    own = [i.name for i in store.indices if isinstance(i, Var)]
    if sorted(own) != sorted(inner.index for inner in around) or len(own) < len(store.indices):
        raise ScheduleError(f"{store.buffer} is not stored at the indices of the nest")
    if any(index in symbols(inner.extent) for inner in around) or symbols(loop.extent) & set(own):
        raise ScheduleError(f"an extent in the loop over {index} depends on another index")
    lets_read = any(load.buffer == store.buffer for let in lets for load in loads(let.value))
    if lets_read or any(load.buffer == store.buffer for load in loads(value)):
        raise ScheduleError(f"{store.buffer} is read elsewhere, too")
    name = fresh_name(taken_names(kernel), f"{store.buffer}_total")
    register = Buffer(name, kernel_buffers(kernel)[store.buffer].dtype, (), "register")
    so_far = Load(name, (), register.dtype)
    added = replace(store, buffer=name, indices=(), value=Binary("add", so_far, value))
    body: Block = (
        Alloc(register, loop.span),
        Store(name, (), before, store.span),
        replace(loop, body=(*lets, added)),
        replace(store, value=so_far),
    )
    for inner in reversed(around):
        body = (replace(inner, body=body),)
    return replace(kernel, body=replace_loop(kernel.body, index, lambda _: body))


def _sum(store: Store) -> tuple[Load, Expr]:
    """What the store adds to its own element, and what it adds."""
    match store.value:
        case Binary(op="add", x=Load() as before, y=value) if before == Load(
            store.buffer, store.indices, before.dtype
        ):
            return before, value
    raise ScheduleError(f"{store.buffer} is not added to")
