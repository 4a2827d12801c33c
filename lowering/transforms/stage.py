"""Stage what a load reads in the loops inside some loop: a copy with its zeros around it.

    for n { for i in 0..8 { for p in 0..3 { … x[n, i + p - 1 | i + p - 1 >= 0] … } } }
      stage x before the loop over i  →
    alloc staged: f32[10] scratch
    for n {
      for h in 0..10 { staged[h] = x[n, h - 1 | h - 1 >= 0] }
      for i in 0..8 { for p in 0..3 { … staged[i + p] … } }
    }

The copy holds 0 where the guard does not hold, so the loads need no guard: what pads an image is
looked at once per element and not once per use. Legal where the guard compares the load's own
subscripts with what does not change inside, and nothing there stores to the buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import fresh_name, map_expressions, taken_names, writes
from stepwell.ir.loop.core import Alloc, Block, Buffer, For, Kernel, Store, statements
from stepwell.ir.ranges import lower_bound, upper_bound
from stepwell.ir.scalar import Binary, Expr, Load, Var, as_dim, from_dim, variables
from stepwell.ir.size import Dim, symbol
from stepwell.lowering.transforms.navigate import (
    ScheduleError,
    find_loop,
    replace_loop,
    rewrite,
)


@dataclass(frozen=True)
class _Axis:
    """A subscript, its smallest value, how many values it spans, and the loop that copies them."""

    subscript: Expr
    low: Dim
    extent: Dim
    loop: str

    @property
    def position(self) -> Expr:
        """Where the copying loop reads."""
        return from_dim(self.low + symbol(self.loop)) if self.extent != 1 else from_dim(self.low)


def stage(kernel: Kernel, load: Load, hint: str, before: str) -> tuple[Kernel, str]:
    """Stage the load before the loop over `before`; the index of the innermost copying loop."""
    if load.buffer in writes(kernel.body):
        raise ScheduleError(f"{hint}: what is staged is stored to in the kernel")
    outer = find_loop(kernel.body, before)
    inside = {s.index: s.extent for s in statements((outer,)) if isinstance(s, For)}
    taken = taken_names(kernel)
    axes = [_axis(subscript, inside, taken) for subscript in load.indices]
    kept = [axis for axis in axes if axis.extent != 1]
    name = fresh_name(taken, hint)
    buffer = Buffer(name, load.dtype, tuple(axis.extent for axis in kept), "scratch")
    guard = None if load.guard is None else _moved(load.guard, axes, frozenset(inside))
    value = replace(load, indices=tuple(axis.position for axis in axes), guard=guard)
    fill: Block = (Store(name, tuple(Var(axis.loop) for axis in kept), value, outer.span),)
    for axis in reversed(kept):
        fill = (For(axis.loop, axis.extent, "serial", fill, outer.span),)
    places = [as_dim(axis.subscript) for axis in kept]
    indices = [from_dim(at - axis.low) for at, axis in zip(places, kept, strict=True)]  # type: ignore[operator]
    read = Load(name, tuple(indices), load.dtype)
    body = map_expressions(kernel.body, lambda e: rewrite(e, lambda x: read if x == load else x))
    body = replace_loop(body, before, lambda loop: (*fill, loop))
    return replace(kernel, body=(Alloc(buffer, outer.span), *body)), kept[-1].loop


def _axis(subscript: Expr, inside: dict[str, Dim], taken: set[str]) -> _Axis:
    at = as_dim(subscript)
    low = None if at is None else lower_bound(at, inside)
    high = None if at is None else upper_bound(at, inside)
    if low is None or high is None:
        raise ScheduleError("the bounds of a subscript are not known")
    return _Axis(subscript, low, high - low + 1, fresh_name(taken, "h"))


def _moved(guard: Expr, axes: list[_Axis], inside: frozenset[str]) -> Expr:
    """The guard on the copy's positions: each comparison of a subscript is one of its position."""
    match guard:
        case Binary(op="and", x=x, y=y):
            return Binary("and", _moved(x, axes, inside), _moved(y, axes, inside))
        case Binary(op="ge" | "lt" | "le" | "gt" as op, x=x, y=y) if not variables(y) & inside:
            for axis in axes:
                if as_dim(axis.subscript) == as_dim(x):
                    return Binary(op, axis.position, y)
    raise ScheduleError("the guard does not compare the load's own subscripts")
