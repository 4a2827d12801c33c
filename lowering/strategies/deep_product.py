"""Products of many terms and fewer results, such as a weight's gradient over a batch of sequences.

In: a naive nest that is a product, whose terms are far apart in memory: both factors have the terms
as rows. Out: its terms in blocks (`block_reduction`), each block then a product by its strategy.

    [K, 512]ᵀ × [K, 128], K = 128*N:  K // 512 products of [512, 512]ᵀ × [512, 128], added up

A tile of the result reads a line of each row: over all rows that would be more than the caches
hold, for the next tile to fetch again. The rows of a block stay in the second cache, and come into
it in the order in which they lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stepwell.ir.loop.analysis import fresh_name, map_loads, taken_names, writes
from stepwell.ir.loop.core import Alloc, Block, For, Kernel, KernelParameter
from stepwell.ir.scalar import Load, variables
from stepwell.ir.size import Dim, evaluate, symbols
from stepwell.ir.target import Target
from stepwell.lowering.strategies.long_reduction import kept_in_memory
from stepwell.lowering.strategies.pieces import joined
from stepwell.lowering.strategies.products import (
    Product,
    extent_of,
    find_product,
    fused_loops,
    outermost,
    plain_product,
    without_outer_lets,
)
from stepwell.lowering.transforms.block_reduction import block_reduction

BLOCK = 480  # terms, of which a few panels fill the first cache; of 1024, which a symbolic size is
# taken for where work is shared, something is left over, so that what is left over is shared too
BATCH = 16  # what a symbolic size is at least, where many terms are to be known
MANY = 4 * BLOCK  # terms that are worth it
FEWER = 2  # times fewer results than elements of the factors: the sums are read and written


def schedule_deep_product(
    kernel: Kernel, target: Target, schedule: Callable[[Kernel, Target], Kernel]
) -> Kernel | None:
    """The kernel with its terms in blocks, each by `schedule`; None where it is no such product."""
    plain = without_outer_lets(kernel)
    found = find_product(plain)
    if found is None or not _is_deep(plain, found):
        return None
    plain, deep = fused_loops(plain_product(plain, found), found.reduction)
    blocks = block_reduction(plain, deep, BLOCK, outermost(plain))
    return kept_in_memory(plain, blocks, lambda whole: _nests(whole, target, schedule))


def _is_deep(kernel: Kernel, found: Product) -> bool:
    rows, columns = extent_of(kernel, found.rows), extent_of(kernel, found.columns)
    terms = _least(extent_of(kernel, found.reduction))
    if found.batch or found.outer or not isinstance(rows, int) or not isinstance(columns, int):
        return False
    if terms < MANY or FEWER * rows * columns > terms * (rows + columns):
        return False
    return all(
        isinstance(factor, Load) and factor.guard is None and _terms_first(factor, found)
        for factor in (found.a, found.b)
    )


def _terms_first(factor: Load, found: Product) -> bool:
    """Whether the factor's rows are terms."""
    last = variables(factor.indices[-1])
    return not last & set(found.reduction)


def _least(terms: Dim) -> int:
    return evaluate(terms, dict.fromkeys(symbols(terms), BATCH))


def _nests(kernel: Kernel, target: Target, schedule: Callable[[Kernel, Target], Kernel]) -> Kernel:
    """The product of a block, of which the kernel is a function, and that of the rest."""
    before = tuple(s for s in kernel.body if not isinstance(s, For))
    blocks, rest = (s for s in kernel.body if isinstance(s, For))
    one = replace(kernel, sizes=(*kernel.sizes, blocks.index), body=(*before, *blocks.body))
    one = _updated(one, lambda whole: schedule(whole, target))
    last = schedule(replace(kernel, body=(*before, rest)), target)
    return joined(kernel, [_in_loop(one, blocks), last])


def _updated(kernel: Kernel, schedule: Callable[[Kernel], Kernel]) -> Kernel:
    """By `schedule`, to which the sums before are an array of their own: each is read and stored by
    one iteration, so that the order of iterations is free."""
    (sums,) = (p for p in kernel.parameters if p.buffer.name in writes(kernel.body))
    old = replace(sums.buffer, name=fresh_name(taken_names(kernel), f"{sums.buffer.name}_before"))
    body = map_loads(kernel.body, lambda load: _of(load, sums.buffer.name, old.name))
    given = (*kernel.parameters, KernelParameter(old, "in"))
    made = schedule(replace(kernel, parameters=given, body=body))
    *parameters, _ = made.parameters
    return replace(
        made, parameters=tuple(parameters),
        body=map_loads(made.body, lambda load: _of(load, old.name, sums.buffer.name)),
    )  # fmt: skip


def _of(load: Load, name: str, other: str) -> Load:
    return replace(load, buffer=other) if load.buffer == name else load


def _in_loop(kernel: Kernel, loop: For) -> Kernel:
    """The kernel's nests in a loop over one of its sizes."""
    local = tuple(s for s in kernel.body if isinstance(s, Alloc))
    nests = tuple(s for s in kernel.body if not isinstance(s, Alloc))
    whole: Block = (*local, replace(loop, body=nests))
    return replace(kernel, sizes=kernel.sizes[:-1], body=whole)
