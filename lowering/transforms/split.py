"""Split a loop in two.

    for i in 0..N { S(i) }

    guard:  for i_0 in 0..(N + 3) // 4 { for i_1 in 0..4 { if 4*i_0 + i_1 < N { S(4*i_0 + i_1) } } }
    bound:  for i_0 in 0..(N + 3) // 4 { for i_1 in 0..min(4, N - 4*i_0) { S(4*i_0 + i_1) } }
    peel:   for i_0 in 0..N // 4 { for i_1 in 0..4 { S(4*i_0 + i_1) } }
            for i_2 in 0..4 { if 4*(N // 4) + i_2 < N { S(4*(N // 4) + i_2) } }

Legal always: the iterations keep their order. Where `by` divides the extent the three are one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from stepwell.ir.loop.analysis import fresh_copy, fresh_name, substitute_block, taken_names
from stepwell.ir.loop.core import Block, For, If, Kernel
from stepwell.ir.scalar import Binary, Expr, from_dim
from stepwell.ir.size import Dim, ceildiv, floordiv, minimum, mod, symbol, symbols
from stepwell.lowering.transforms.navigate import find_loop, replace_loop

Tail = Literal["guard", "bound", "peel"]


@dataclass(frozen=True)
class Split:
    """The loops that a split made; `rest` is the index of a peeled tail, where there is one."""

    kernel: Kernel
    outer: str
    inner: str
    rest: str | None = None


def split(
    kernel: Kernel,
    index: str,
    by: int,
    tail: Tail = "guard",
    hints: tuple[str, str] | None = None,
) -> Split:
    """Split the loop over `index` into an outer loop and an inner one of `by` iterations.

    `hints` are names for the two; else they are called after the loop.
    """
    find_loop(kernel.body, index)
    taken = taken_names(kernel)
    outer = fresh_name(taken, hints[0] if hints else f"{index}_outer")
    inner, rest = (fresh_name(taken, hints[1] if hints else index) for _ in range(2))
    peeled = False

    def parts(loop: For) -> Block:
        nonlocal peeled
        start = symbol(outer) * by
        exact = mod(loop.extent, by) == 0
        whole = floordiv(loop.extent, by)
        if exact or tail == "peel":
            main = replace(loop, index=outer, extent=whole, body=(_inner(loop, inner, start, by),))
            if exact:
                return (main,)
            peeled = True
            copy = replace(loop, body=fresh_copy(loop.body, taken))
            return (main, _guarded(copy, rest, whole * by, by))
        count = ceildiv(loop.extent, by)
        if count == 1:
            inside = _guarded(loop, inner, 0, by)
            if tail == "bound":
                inside = _inner(loop, inner, 0, loop.extent)
            return (replace(loop, index=outer, extent=1, body=(inside,)),)
        if tail == "guard":
            inside = _guarded(loop, inner, start, by)
        else:
            inside = _inner(loop, inner, start, minimum(by, loop.extent - start))
        return (replace(loop, index=outer, extent=count, body=(inside,)),)

    body = replace_loop(kernel.body, index, parts)
    return Split(replace(kernel, body=body), outer, inner, rest if peeled else None)


def _inner(loop: For, index: str, start: Dim, extent: Dim) -> For:
    position = from_dim(start + symbol(index))
    return replace(
        loop, index=index, extent=extent, body=substitute_block(loop.body, {loop.index: position})
    )


def _guarded(loop: For, index: str, start: Dim, by: int) -> For:
    """The inner loop of `by` iterations; the guard goes inside the loops nested perfectly in it."""
    inside = _inner(loop, index, start, by)
    limit = Binary("lt", from_dim(start + symbol(index)), from_dim(loop.extent))
    return replace(inside, body=_under(inside.body, limit, index))


def _under(block: Block, limit: Expr, index: str) -> Block:
    if len(block) == 1 and isinstance(block[0], For) and index not in symbols(block[0].extent):
        return (replace(block[0], body=_under(block[0].body, limit, index)),)
    return (If(limit, block),)
