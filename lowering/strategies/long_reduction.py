"""Long sums with few results: in parts, which threads share and caches hold.

In: a naive nest that reduces much to little. Out: its reductions by `split_reduction`, each part
then by the strategy of its family.

    [16, 65536] × [65536, 16]:  64 products of [16, 1024] × [1024, 16], then the sum of the 64
    sum of 4,000,000 numbers:   32 sums of 125,000, then the sum of the 32

How many parts there are depends on the shapes alone, so that the bits do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from stepwell.ir.loop.analysis import allocations
from stepwell.ir.loop.core import Alloc, For, Kernel, KernelParameter
from stepwell.ir.size import Dim, product
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose, near
from stepwell.lowering.strategies.loops import best_across, flattened, lanes_of
from stepwell.lowering.strategies.pieces import joined
from stepwell.lowering.strategies.products import (
    Product,
    extent_of,
    find_product,
    without_outer_lets,
)
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop
from stepwell.lowering.transforms.reorder import perfect_nest
from stepwell.lowering.transforms.split_reduction import split_reduction, summed_up

PARTS = 32  # of a reduction: so many threads have as much to do as each other, nearly
LEAST = 1 << 17  # terms in all that are worth a fork
FEW = 8  # results side by side that leave threads without work
DEPTH = 1024  # terms of a product's part: its panels stay in the second cache
WORK = 1 << 22  # multiply-adds in all that are worth a product's parts
AGAIN = 32  # terms that an element of A or B is used in, for each time that a sum is kept
WHOLE = 16  # a part is a multiple of it, where it can be: vectors fill it


def schedule_long_reduction(
    kernel: Kernel, target: Target, schedule: Callable[[Kernel, Target], Kernel]
) -> Kernel | None:
    """The kernel with its long reductions in parts, by `schedule`; None where it has none."""
    plain = without_outer_lets(kernel)
    found = find_product(plain)
    if found is None:
        parts = _split_sums(kernel, target)
        return kept_in_memory(kernel, parts, lambda whole: schedule(whole, target))
    parts = _split_product(plain, found)
    return kept_in_memory(plain, parts, lambda whole: _nests(whole, target, schedule))


def kept_in_memory(
    before: Kernel, kernel: Kernel, schedule: Callable[[Kernel], Kernel]
) -> Kernel | None:
    """The kernel by `schedule`, to which the scratch that it has more than `before` is parameters:
    what one nest gives to another. None where it has no more."""
    own = {buffer.name for buffer in allocations(before.body)}
    kept = [s.buffer for s in kernel.body if isinstance(s, Alloc) and s.buffer.name not in own]
    kept = [buffer for buffer in kept if buffer.space == "scratch"]
    if not kept:
        return None
    names = {buffer.name for buffer in kept}
    body = tuple(s for s in kernel.body if not isinstance(s, Alloc) or s.buffer.name not in names)
    between = tuple(KernelParameter(replace(b, space="memory"), "inout") for b in kept)
    whole = schedule(replace(kernel, parameters=(*kernel.parameters, *between), body=body))
    first = len(kernel.parameters)
    allocs = (Alloc(replace(p.buffer, space="scratch")) for p in whole.parameters[first:])
    return replace(whole, parameters=whole.parameters[:first], body=(*allocs, *whole.body))


def _nests(kernel: Kernel, target: Target, schedule: Callable[[Kernel, Target], Kernel]) -> Kernel:
    """Each nest by itself; what is computed before all of them, by each."""
    before = tuple(s for s in kernel.body if not isinstance(s, For))
    nests = [replace(kernel, body=(*before, s)) for s in kernel.body if isinstance(s, For)]
    return joined(kernel, [schedule(nest, target) for nest in nests])


# ---------------------------------------------------------------------- products


def _split_product(kernel: Kernel, found: Product) -> Kernel:
    outside, rows, columns, depth = (
        extent_of(kernel, names)
        for names in ((*found.batch, *found.outer), found.rows, found.columns, found.reduction)
    )
    if not all(isinstance(extent, int) for extent in (outside, rows, columns, depth)):
        return kernel
    assert isinstance(outside, int) and isinstance(rows, int)
    assert isinstance(columns, int) and isinstance(depth, int)
    if outside * rows * columns * depth < WORK:
        return kernel
    # A part of d terms reads d*(rows + columns) elements, and its sums go to memory and back.
    terms = max(DEPTH, AGAIN * rows * columns // (rows + columns))
    outermost = find_loop(kernel.body, found.reduction[0]).extent
    assert isinstance(outermost, int)
    by = _whole(terms * outermost // depth)
    by = choose("part", by, lambda: near(by, WHOLE, outermost))
    if by < 1 or outermost < FEW * by:
        return kernel
    first = next(s.index for s in kernel.body if isinstance(s, For))
    try:
        return split_reduction(kernel, found.reduction[0], by, first)
    except ScheduleError:
        return kernel


# ---------------------------------------------------------------------- sums


def _split_sums(kernel: Kernel, target: Target) -> Kernel:
    """Every long reduction in parts: at its place where few loops are around it; distributed over
    the result loops where these are a few vectors of columns."""
    kernel = flattened(kernel)
    for nest in [s for s in kernel.body if isinstance(s, For)]:
        for around, loop in list(_reductions(kernel, nest, ())):
            results, terms = _number(around), _number(_nest(kernel, loop))
            if results is None or terms is None or results * terms < LEAST:
                continue
            outer = ""
            if results >= FEW:
                if not _few_columns(kernel, nest, results, target):
                    continue
                outer = nest.index
            kernel = _split_sum(kernel, loop, outer)
    return kernel


def _split_sum(kernel: Kernel, loop: For, outer: str) -> Kernel:
    extent = loop.extent
    assert isinstance(extent, int)
    by = _whole(extent // PARTS) or 1
    by = choose("part", by, lambda: near(by, 1, extent))
    try:
        return split_reduction(kernel, loop.index, by, outer)
    except ScheduleError:
        return kernel


def _reductions(
    kernel: Kernel, loop: For, around: tuple[For, ...]
) -> Iterator[tuple[tuple[For, ...], For]]:
    """The plain reductions in a nest, each with the loops around it."""
    if summed_up(kernel, loop.index):
        yield around, loop
        return
    for inner in loop.body:
        if isinstance(inner, For):
            yield from _reductions(kernel, inner, (*around, loop))


def _few_columns(kernel: Kernel, nest: For, results: int, target: Target) -> bool:
    """Whether lanes are along the results, and these are fewer than FEW vectors."""
    lanes = lanes_of(nest.body, kernel, target)
    return results < FEW * lanes and best_across(kernel, nest.index, lanes) is not None


def _nest(kernel: Kernel, loop: For) -> tuple[For, ...]:
    return tuple(find_loop(kernel.body, name) for name in perfect_nest(kernel, loop.index))


def _number(loops: tuple[For, ...]) -> int | None:
    count: Dim = product([loop.extent for loop in loops])
    return count if isinstance(count, int) else None


def _whole(terms: int) -> int:
    return terms // WHOLE * WHOLE if terms >= WHOLE else terms
