"""Running reductions in one go: what is carried from one element to the next is not begun anew.

    for i in 0..N {                                  alloc acc: f32 register
      alloc acc: f32 register                        acc[] = 0.0
      acc[] = 0.0                                    for i in 0..N {
      for k in 0..N {                           →      acc[] = acc[] + x[i]
        acc[] = acc[] + select(k <= i, x[k], 0.0)      y[i] = acc[]
      }                                              }
      y[i] = acc[]
    }

So a cumulative sum takes N steps, not N². The loop over `i` goes innermost in its perfect nest.
Legal where the guard is `k <= i`, both have one extent, and what is reduced does not depend on `i`
but by that guard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import own_expressions, substitute_block
from stepwell.ir.loop.core import Alloc, Block, Check, For, Kernel, Let, Statement, Store
from stepwell.ir.scalar import Binary, Const, Expr, Load, Select, Var, map_children, variables
from stepwell.lowering.transforms.navigate import find_loop, replace_loop
from stepwell.lowering.transforms.reorder import perfect_nest, reorder


@dataclass(frozen=True)
class _Running:
    """The parts of a running reduction: its loop, what is before it, what it does, what follows."""

    index: str
    start: tuple[Alloc, Store]
    step: Block
    rest: Block


def carry_prefixes(kernel: Kernel) -> Kernel:
    """The kernel with its running reduction, where it is one, in one go."""
    loops = [s for s in kernel.body if isinstance(s, For)]
    if len(loops) != 1:
        return kernel
    nest = perfect_nest(kernel, loops[0].index)
    found = _running(find_loop(kernel.body, nest[-1]).body, kernel, nest)
    if found is None:
        return kernel
    order = [*(name for name in nest if name != found.index), found.index]
    kernel = reorder(kernel, nest[0], order)

    def carried(loop: For) -> Block:
        return (*found.start, replace(loop, body=(*found.step, *found.rest)))

    return replace(kernel, body=replace_loop(kernel.body, found.index, carried))


def _running(body: Block, kernel: Kernel, nest: list[str]) -> _Running | None:
    match body:
        case (
            Alloc() as alloc,
            Store(buffer=name, indices=(), value=Const() as first) as start,
            For(index=k, body=(*lets, Store() as last), extent=extent),
            *rest,
        ) if alloc.buffer.name == name:
            pass
        case _:
            return None
    match last:
        case Store(
            buffer=same,
            indices=(),
            value=Binary(
                x=Load(buffer=read) as old,
                y=Select(Binary("le", Var(low), Var(index)) as reached, term, outside),
            ) as value,
        ) if same == name == read and low == k and outside == first and index in nest:
            pass
        case _:
            return None
    term = _where(term, reached)
    simple = all(isinstance(s, Let) for s in lets) and all(
        isinstance(s, (Let, Store, Check)) for s in rest
    )
    depends = {v for s in lets for e in own_expressions(s) for v in variables(e)} | variables(term)
    if not simple or index in depends or find_loop(kernel.body, index).extent != extent:
        return None
    step: list[Statement] = [*lets, replace(last, value=replace(value, x=old, y=term))]
    at = substitute_block(tuple(step), {k: Var(index)})
    return _Running(index, (alloc, start), at, tuple(rest))


def _where(expr: Expr, condition: Expr) -> Expr:
    """The expression where the condition holds: guards need not ask for it."""
    match expr:
        case Load(guard=guard) if guard == condition:
            return replace(expr, guard=None)
        case Binary(op="and", x=x, y=y) if condition in (x, y):
            return _where(y if x == condition else x, condition)
    return map_children(expr, lambda child: _where(child, condition))
