"""Split a reduction in parts, each a sum of its own; the parts' sums are added up in their order.

    for i { acc[] = 0.0; for k in 0..1000 { acc[] = acc[] + x[k, i] }; y[i] = acc[] }
      →  by 300, distributed over i
    alloc acc_parts: f32[3, I] scratch
    for part in 0..3 { for i_1 {
      acc_1[] = 0.0;  for k_1 in 0..300 { acc_1[] = acc_1[] + x[300*part + k_1, i_1] }
      acc_parts[part, i_1] = acc_1[]
    } }
    for i { acc[] = 0.0
      for part_1 in 0..3 { acc[] = acc[] + acc_parts[part_1, i] }
      for k in 0..100 { acc[] = acc[] + x[900 + k, i] }
      y[i] = acc[]
    }

The parts are independent, so that threads can share them, and each has its own piece of x, so that
it stays in a cache. The order of the additions changes, in a way that depends on the extents only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import (
    fresh_copy,
    fresh_name,
    kernel_buffers,
    reads,
    register_names,
    stores_of,
    substitute_block,
    taken_names,
    writes,
)
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    Let,
    Statement,
    Store,
)
from stepwell.ir.scalar import COMBINE, Binary, Load, Var, from_dim, identity
from stepwell.ir.size import Dim, symbol
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop
from stepwell.lowering.transforms.reorder import perfect_nest
from stepwell.lowering.transforms.vectorize_reduction import accumulators


def summed_up(kernel: Kernel, index: str) -> dict[str, str] | None:
    """Register → reduction kind, where the loop, with those nested perfectly in it, only
    accumulates; what it stores beside has a place for each iteration."""
    innermost = find_loop(kernel.body, perfect_nest(kernel, index)[-1])
    kinds = accumulators(innermost, register_names(kernel))
    for store in stores_of(innermost.body):
        if kinds and store.buffer not in kinds and Var(index) not in store.indices:
            return None
    return kinds


def split_reduction(kernel: Kernel, index: str, by: int, outer: str = "") -> Kernel:
    """Split the reduction over `index` in parts of `by` iterations, distributed over the loops of
    the perfect nest from `outer` on; without that, at its place."""
    loop, kinds = find_loop(kernel.body, index), summed_up(kernel, index)
    if kinds is None:
        raise ScheduleError(f"the loop over {index} is not a plain reduction")
    if not isinstance(loop.extent, int) or by < 1 or loop.extent < 2 * by:
        raise ScheduleError(f"the loop over {index} has no two parts of {by} iterations")
    results = (
        [find_loop(kernel.body, name) for name in perfect_nest(kernel, outer)] if outer else []
    )
    taken, buffers = taken_names(kernel), kernel_buffers(kernel)
    shape = (loop.extent // by, *(each.extent for each in results))
    kept = {
        name: Buffer(fresh_name(taken, f"{name}_parts"), buffers[name].dtype, shape, "scratch")
        for name in kinds
    }
    split = _Split(loop, by, loop.extent // by, kinds, kept, [Var(each.index) for each in results])
    lets = lets_before(loop, results, kinds)
    first, second = split.parts(lets, results, taken), split.joined(taken)
    if outer:
        body = replace_loop(kernel.body, index, lambda _: second)
        body = replace_loop(body, outer, lambda nest: (first, nest))
    else:
        body = replace_loop(kernel.body, index, lambda _: (first, *second))
    allocs = tuple(Alloc(buffer, loop.span) for buffer in kept.values())
    return replace(kernel, body=(*allocs, *body))


def lets_before(loop: For, results: Sequence[For], kinds: Mapping[str, str]) -> Block:
    """The lets of the innermost of the result loops that are before the reduction; ScheduleError
    where the reduction cannot be taken out of it."""
    if not results:
        return ()
    body = results[-1].body
    if loop not in body:
        raise ScheduleError(f"the loop over {loop.index} is not in the innermost result loop")
    before = body[: body.index(loop)]
    lets = tuple(s for s in before if isinstance(s, Let))
    own = {s.buffer.name for s in before if isinstance(s, Alloc)}
    stored_before = writes(before) - own - set(kinds)
    if any(isinstance(s, (For, If, Check)) for s in before) or own & reads(lets) or stored_before:
        raise ScheduleError(f"there is more before the loop over {loop.index}")
    if writes(loop.body) - set(kinds) or (reads(loop.body) & own) - set(kinds):
        raise ScheduleError(f"the loop over {loop.index} uses more than its sums")
    if (reads((*lets, loop)) & writes(results[0].body)) - set(kinds):
        raise ScheduleError(f"the loop over {loop.index} reads what is stored around it")
    return lets


@dataclass(frozen=True)
class _Split:
    """A reduction in `count` parts of `by` iterations: its accumulators, where the sums of parts
    are kept, and the indices of the results around it."""

    loop: For
    by: int
    count: int
    kinds: Mapping[str, str]
    kept: Mapping[str, Buffer]
    results: Sequence[Var]

    def parts(self, lets: Block, results: Sequence[For], taken: set[str]) -> For:
        """The loop over the parts, the result loops inside of it."""
        part = fresh_name(taken, "part")
        start: list[Statement] = []
        end: list[Statement] = []
        for name, buffer in self.kept.items():
            register = Buffer(name, buffer.dtype, (), "register")
            start += [
                Alloc(register, self.loop.span),
                Store(name, (), identity(self.kinds[name], buffer.dtype), self.loop.span),
            ]
            total = Load(name, (), buffer.dtype)
            end.append(Store(buffer.name, (Var(part), *self.results), total, self.loop.span))
        inner = self._run(symbol(part) * self.by, self.by)
        block: Block = (*lets, *start, *inner, *end)
        for each in reversed(results):
            block = (replace(each, body=block),)
        # The second nest keeps the names.
        return For(part, self.count, "serial", fresh_copy(block, taken), self.loop.span)

    def joined(self, taken: set[str]) -> Block:
        """The parts' results in their order, then the iterations that fill no part."""
        part = fresh_name(taken, "part")
        adds = tuple(
            Store(name, (), Binary(COMBINE[self.kinds[name]], Load(name, (), buffer.dtype),
                                   Load(buffer.name, (Var(part), *self.results), buffer.dtype)),
                  self.loop.span)
            for name, buffer in self.kept.items()
        )  # fmt: skip
        parts = For(part, self.count, "serial", adds, self.loop.span)
        assert isinstance(self.loop.extent, int)
        rest = self.loop.extent - self.count * self.by
        return (parts, *self._run(self.count * self.by, rest)) if rest else (parts,)

    def _run(self, start: Dim, extent: int) -> Block:
        """The reduction's loop over so many iterations from `start` on."""
        index = self.loop.index
        body = substitute_block(self.loop.body, {index: from_dim(start + symbol(index))})
        return (replace(self.loop, extent=extent, body=body),)
