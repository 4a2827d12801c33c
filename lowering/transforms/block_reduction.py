"""Do a reduction in blocks, one after the other, for all results at once.

    for i { acc[] = 0.0; for k in 0..K { acc[] = acc[] + x[k, i] }; y[i] = f(acc[]) }
      →  by 512
    alloc acc_sums: f32[I] scratch
    for block in 0..K // 512 { for i_1 {
      acc_1[] = 0.0;  for k_1 in 0..512 { acc_1[] = acc_1[] + x[512*block + k_1, i_1] }
      acc_sums[i_1] = acc_sums[i_1 | block > 0] + acc_1[]
    } }
    for i {
      acc[] = 0.0;  for k in 0..K - 512*(K // 512) { acc[] = acc[] + x[512*(K // 512) + k, i] }
      y[i] = f(acc_sums[i | K // 512 > 0] + acc[])
    }

What a block reads stays in a cache for all results, and K need not be known. The order of the
additions changes, in a way that depends on the extents only.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import (
    fresh_copy,
    fresh_name,
    kernel_buffers,
    map_loads,
    substitute_block,
    taken_names,
)
from stepwell.ir.loop.core import Alloc, Block, Buffer, For, Kernel, Store
from stepwell.ir.scalar import COMBINE, Binary, Expr, Load, Var, from_dim, identity
from stepwell.ir.scalar import index as number
from stepwell.ir.size import Dim, floordiv, symbol
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop
from stepwell.lowering.transforms.reorder import perfect_nest
from stepwell.lowering.transforms.split_reduction import lets_before, summed_up


def block_reduction(kernel: Kernel, index: str, by: int, outer: str) -> Kernel:
    """The reduction over `index` in blocks of `by` iterations, for all results of the perfect nest
    from `outer` on."""
    loop, kinds = find_loop(kernel.body, index), summed_up(kernel, index)
    if not kinds or len(kinds) != 1 or by < 1:
        raise ScheduleError(f"the loop over {index} is not one plain reduction")
    ((name, kind),) = kinds.items()
    results = [find_loop(kernel.body, each) for each in perfect_nest(kernel, outer)]
    lets_before(loop, results, kinds)
    taken, register = taken_names(kernel), kernel_buffers(kernel)[name]
    body = results[-1].body
    at = body.index(loop)
    start = Store(name, (), identity(kind, register.dtype))
    if [s for s in body[:at] if isinstance(s, Store) and s.buffer == name] != [start]:
        raise ScheduleError(f"{name} does not begin with nothing")
    shape = tuple(each.extent for each in results)
    sums = Buffer(fresh_name(taken, f"{name}_sums"), register.dtype, shape, "scratch")
    places, count = tuple(Var(each.index) for each in results), floordiv(loop.extent, by)
    block = fresh_name(taken, "block")

    def total(some: Expr) -> Expr:
        guard = Binary("gt", some, number(0))
        before = Load(sums.name, places, sums.dtype, guard)
        return Binary(COMBINE[kind], before, Load(name, (), register.dtype))

    inner: Block = (
        *body[:at],
        _some(loop, symbol(block) * by, by),
        Store(sums.name, places, total(Var(block)), loop.span),
    )
    for each in reversed(results):
        inner = (replace(each, body=inner),)
    blocks = For(block, count, "serial", fresh_copy(inner, taken), loop.span)

    def finished(load: Load) -> Expr:
        return total(from_dim(count)) if load.buffer == name else load

    rest = _some(loop, count * by, loop.extent - count * by)
    last = (*body[:at], rest, *map_loads(body[at + 1 :], finished))
    after = replace_loop(kernel.body, results[-1].index, lambda nest: (replace(nest, body=last),))
    after = replace_loop(after, outer, lambda nest: (blocks, nest))
    return replace(kernel, body=(Alloc(sums, loop.span), *after))


def _some(loop: For, start: Dim, extent: Dim) -> For:
    """The loop over so many iterations from `start` on."""
    body = substitute_block(loop.body, {loop.index: from_dim(start + symbol(loop.index))})
    return replace(loop, extent=extent, body=body)
