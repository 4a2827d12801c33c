"""Everything that is not a packed contraction: vectors along the contiguous axis, masked tails.

In: a naive nest. Out: the same nest with vector loops, in one of two ways:

- *inward*: each innermost loop becomes vectors along its own axis. A reduction gets lanes of
  partial results, combined at the end; a loop over result elements is split, its tail masked. So
  are element-wise kernels, and softmax or layer norm over the last axis.
- *across*: the result's last axis is split into lanes, which are pushed inward past the reductions:
  each lane computes its own result. So are pooling, depthwise convolution, sums over leading axes.

The cheaper one is taken: the one whose loads are contiguous more often.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from stepwell.ir.dtypes import I64, DType
from stepwell.ir.loop.analysis import (
    expressions_of,
    index_names,
    kernel_buffers,
    loads_of,
    register_names,
    stores_of,
)
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Check,
    For,
    If,
    Kernel,
    Let,
    Store,
    bytes_moved,
    statements,
)
from stepwell.ir.scalar import COST, Expr, Unary, Var, as_dim, coefficient, walk
from stepwell.ir.size import Dim, ceildiv, product, symbols
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose, near
from stepwell.lowering.transforms.fuse_loops import fuse_loops
from stepwell.lowering.transforms.interchange import interchange
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.nan_apart import nan_apart
from stepwell.lowering.transforms.navigate import ScheduleError, as_kind, find_loop
from stepwell.lowering.transforms.prefetch import prefetch
from stepwell.lowering.transforms.reorder import perfect_nest
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split
from stepwell.lowering.transforms.squares import squares
from stepwell.lowering.transforms.stream import stream
from stepwell.lowering.transforms.vectorize_reduction import accumulators, vectorize_reduction

DEEP = 12  # simple operations, one after the other, of a function that is a polynomial
UNROLL = 4  # vectors of partial results in a reduction: enough to hide the latency of an addition


def schedule_loops(kernel: Kernel, target: Target) -> Kernel:
    """Vectorise each nest of the kernel inward or across."""
    kernel = flattened(kernel)
    for name in [s.index for s in kernel.body if isinstance(s, For)]:
        lanes = lanes_of(find_loop(kernel.body, name).body, kernel, target)
        wide, fused = _widened(kernel, name, lanes)
        across = best_across(wide, fused, lanes)
        narrow = best_across(kernel, name, lanes) if across is None else None
        if narrow is None:
            kernel, name = wide, fused
        across = across or narrow
        if across is None:
            kernel = _in_squares(vectorize_inward(kernel, name, lanes, target), name)
        else:
            kernel = _across(kernel, across, lanes)
    if not target.carries_nan:
        kernel = nan_apart(kernel)
    kernel = without_single_loops(kernel)
    return _rows_ahead(_streamed(kernel, target), target)


def _streamed(kernel: Kernel, target: Target) -> Kernel:
    """What the last cache does not hold until it is read is written past it."""
    moved = bytes_moved(kernel)
    far = isinstance(moved, int) and moved > target.l3_share
    return stream(kernel, 0) if choose("stream", far, lambda: (False, True)) else kernel


def _rows_ahead(kernel: Kernel, target: Target) -> Kernel:
    """Rows that loops walk along one after the other are asked for about a page ahead, where they
    come from memory."""
    moved = bytes_moved(kernel)
    if not isinstance(moved, int) or moved <= target.l3_share:
        return kernel
    for outer in [s.index for s in kernel.body if isinstance(s, For)]:
        nest = perfect_nest(kernel, outer)
        walks = sum(isinstance(s, For) for s in find_loop(kernel.body, nest[-1]).body)
        count = product([find_loop(kernel.body, name).extent for name in nest])
        row = ceildiv(moved, count) if isinstance(count, int) and count else moved
        if walks > 1 and isinstance(row, int) and row <= target.l1 // 2:
            ahead = max(1, target.page // row)
            ahead = choose("rows_ahead", ahead, partial(_distances, ahead))
            kernel = prefetch(kernel, nest[-1], ahead, target.line) if ahead else kernel
    return kernel


def _distances(ahead: int) -> tuple[int, ...]:
    return (0, *near(ahead, 1, 4 * ahead))


def flattened(kernel: Kernel) -> Kernel:
    """Perfectly nested loops over element-wise work made one, where every access stays plain."""
    for name in [s.index for s in kernel.body if isinstance(s, For)]:
        index = name
        while True:
            nest = perfect_nest(kernel, index)
            pair = next((n for n in pairwise(nest) if _joins(kernel, n)), None)
            if pair is None:
                break
            kernel, fused = fuse_loops(kernel, pair[0])
            index = fused if pair[0] == index else index
    return kernel


def _joins(kernel: Kernel, pair: tuple[str, str]) -> bool:
    """Whether every access in the loops has both indices side by side, or neither."""
    outer, inner = find_loop(kernel.body, pair[0]), find_loop(kernel.body, pair[1])
    buffers = kernel_buffers(kernel)
    accesses: list[tuple[str, tuple[Expr, ...]]] = []
    accesses += [(load.buffer, load.indices) for load in loads_of(outer.body)]
    accesses += [(store.buffer, store.indices) for store in stores_of(outer.body)]
    side_by_side = (Var(pair[0]), Var(pair[1]))
    for name, indices in accesses:
        used = [i for i, e in enumerate(indices) if set(pair) & _variables(e)]
        if not used:
            continue
        at = used[0]
        shape = buffers[name].shape
        if used != [at, at + 1] or indices[at : at + 2] != side_by_side:
            return False
        if shape[at + 1] != inner.extent or buffers[name].space != "memory":
            return False
    if any(s.index not in pair for s in statements(inner.body) if isinstance(s, For)):
        return False
    plain = [e for e in expressions_of(inner.body) if isinstance(e, Var) and e.name in pair]
    in_subscripts = sum(
        len([v for v in _all_vars(i) if v.name in pair]) for _, indices in accesses for i in indices
    )
    return len(plain) == in_subscripts


def _variables(expr: Expr) -> set[str]:
    return {v.name for v in _all_vars(expr)}


def _all_vars(expr: Expr) -> list[Var]:
    return [e for e in walk(expr) if isinstance(e, Var)]


def lanes_of(block: Block, kernel: Kernel, target: Target) -> int:
    """Vector length: that of the widest element computed with or moved, index arithmetic aside."""
    widest: DType | None = None
    buffers = kernel_buffers(kernel)
    touched = {load.buffer for load in loads_of(block)} | {s.buffer for s in stores_of(block)}
    for name in touched:
        dtype = buffers[name].dtype.compute
        if buffers[name].dtype != I64 and (widest is None or dtype.bytes > widest.bytes):
            widest = dtype
    if widest is None:
        return target.lanes(I64)
    return min(target.lanes(widest), target.vector_bits // 32)


# ---------------------------------------------------------------------- inward


def vectorize_inward(
    kernel: Kernel, name: str, lanes: int, target: Target, most: int = UNROLL
) -> Kernel:
    """Each innermost loop in the loop over `name` made vectors along its own axis; so many chains
    of a polynomial side by side at `most`."""
    loop = find_loop(kernel.body, name)
    most = choose("accumulators", most, lambda: (1, 2, 4, 8))
    innermost = [
        s
        for s in statements((loop,))
        if isinstance(s, For) and not any(isinstance(x, (For, If)) for x in s.body)
    ]
    for inner in innermost:
        if any(isinstance(s, Check) for s in inner.body) and _is_small(inner.extent, lanes):
            continue
        wide = lanes * min(most, _chains(inner, lanes, target))
        if accumulators(inner, register_names(kernel)) is not None:
            if not _is_small(inner.extent, lanes):
                unroll = max(1, _unroll(inner.extent, lanes, most) * lanes // wide)
                kernel = vectorize_reduction(kernel, inner.index, wide, unroll)
        elif _is_elementwise(inner, register_names(kernel)):
            kernel = _vector_loop(kernel, inner.index, wide)
    return kernel


def _chains(loop: For, lanes: int, target: Target) -> int:
    """Vectors in a vector loop: several, one operation of each after the other, where a polynomial
    makes a chain too long for the processor to look past; as many as the registers hold."""
    functions = [e.op for e in expressions_of(loop.body) if isinstance(e, Unary)]
    deep = any(COST.get(op, 1) >= DEEP for op in functions)
    chains = target.vector_registers // 8 if deep else 1
    while chains > 1 and isinstance(loop.extent, int) and loop.extent < 2 * chains * lanes:
        chains //= 2
    return chains


def _in_squares(kernel: Kernel, name: str) -> Kernel:
    """A transposed copy by squares: the loop over vectors goes outside, the one along the source's
    rows inside of it."""
    nest = perfect_nest(kernel, name) if name in index_names(kernel.body) else []
    if len(nest) < 3 or find_loop(kernel.body, nest[-1]).kind != "vector":
        return kernel
    stores = stores_of(find_loop(kernel.body, nest[-1]).body)
    try:
        turned = interchange(kernel, nest[-3])
    except ScheduleError:
        return kernel
    square = squares(turned, stores[0].buffer) if len(stores) == 1 else turned
    return kernel if square is turned else square


def _is_small(extent: Dim, lanes: int) -> bool:
    return isinstance(extent, int) and extent < max(4, lanes // 2)


def _unroll(extent: Dim, lanes: int, most: int) -> int:
    """Vectors of partial results: a power of two, as combining halves needs."""
    unroll = most
    while isinstance(extent, int) and unroll > 1 and unroll * lanes > extent:
        unroll //= 2
    return unroll


def _is_elementwise(loop: For, registers: frozenset[str]) -> bool:
    return all(
        isinstance(s, (Let, Check)) or (isinstance(s, Store) and s.buffer not in registers)
        for s in loop.body
    )


def _vector_loop(kernel: Kernel, index: str, lanes: int) -> Kernel:
    parts = split(kernel, index, lanes, "peel")
    kernel = as_kind(parts.kernel, parts.inner, "vector")
    return as_kind(kernel, parts.rest, "vector") if parts.rest else kernel


# ---------------------------------------------------------------------- across


def best_across(kernel: Kernel, name: str, lanes: int) -> str | None:
    """The loop to vectorise across, or None where inward is better."""
    nest = perfect_nest(kernel, name)
    body = find_loop(kernel.body, nest[-1]).body
    loops = [s for s in statements(body) if isinstance(s, For)]
    if not loops and not any(isinstance(s, Alloc) for s in body):
        return None
    lane = _last_axis(kernel, nest)
    if lane is None or _is_small(find_loop(kernel.body, lane).extent, lanes):
        return None
    innermost = [s for s in loops if s.extent != 1 and not any(isinstance(x, For) for x in s.body)]
    if any(lane in _extent_variables(s) for s in loops):
        return None
    inward = sum(_badness(s, s.index, kernel, lanes) for s in innermost)
    across = sum(_badness(s, lane, kernel, lanes, own=False) for s in innermost)
    return lane if across < inward or not innermost else None


def _widened(kernel: Kernel, name: str, lanes: int) -> tuple[Kernel, str]:
    """The innermost result axes fused while they fill no vector: 7×7 images become rows of 49."""
    nest = perfect_nest(kernel, name)
    inner = find_loop(kernel.body, nest[-1])
    if not any(isinstance(s, For) for s in inner.body):
        return kernel, name
    while len(nest) > 1:
        inner = find_loop(kernel.body, nest[-1])
        side_by_side = (Var(nest[-2]), Var(nest[-1]))
        stores = [s for s in stores_of((inner,)) if s.indices]
        if not isinstance(inner.extent, int) or not 0 < inner.extent < lanes:
            break
        if find_loop(kernel.body, nest[-2]).extent == 0:
            break
        if any(store.indices[-2:] != side_by_side for store in stores):
            break
        kernel, fused = fuse_loops(kernel, nest[-2])
        name = fused if nest[-2] == name else name
        nest = [*nest[:-2], fused]
    return kernel, name


def _extent_variables(loop: For) -> set[str]:
    return set(symbols(loop.extent))


def _last_axis(kernel: Kernel, nest: list[str]) -> str | None:
    """The loop of the perfect nest that walks contiguously through what is stored."""
    inner = find_loop(kernel.body, nest[-1])
    for store in stores_of((inner,)):
        if store.indices and isinstance(store.indices[-1], Var) and store.indices[-1].name in nest:
            return store.indices[-1].name
    return nest[-1]


def _badness(loop: For, lane: str, kernel: Kernel, lanes: int, own: bool = True) -> int:
    """Loads and stores of the loop that vectors along `lane` would have to gather or scatter; plus
    what a reduction along its own axis costs where it is short or not a plain one."""
    registers = register_names(kernel)
    accesses = [x.indices for x in loads_of(loop.body) if x.buffer not in registers]
    accesses += [x.indices for x in stores_of(loop.body) if x.buffer not in registers]
    cost = sum(4 for indices in accesses if not _contiguous(indices, lane))
    if own:
        plain = accumulators(loop, registers) is not None
        if not plain and not _is_elementwise(loop, registers):
            cost += 100
        if isinstance(loop.extent, int) and loop.extent < lanes:
            cost += 20
    return cost


def _contiguous(indices: tuple[Expr, ...], lane: str) -> bool:
    """Whether neighbouring lanes touch neighbouring elements, or all the same one."""
    for position, expr in enumerate(indices):
        dim = as_dim(expr)
        if dim is None:
            if lane in _variables(expr):
                return False
            continue
        step = coefficient(dim, lane)
        last = position == len(indices) - 1
        if step != 0 and not (last and step == 1):
            return False
    return True


def _across(kernel: Kernel, lane: str, lanes: int) -> Kernel:
    """Lanes along a result axis, several vectors at a time where the axis is long enough: their
    reductions are independent, so that one hides the latency of the other."""
    extent = find_loop(kernel.body, lane).extent
    scratch = {b.name for b in kernel_buffers(kernel).values() if b.space == "scratch"}
    private = any(
        s.buffer in scratch and not any(lane in _variables(e) for e in s.indices)
        for s in stores_of(find_loop(kernel.body, lane).body)
    )
    vectors = UNROLL if isinstance(extent, int) and extent >= UNROLL * lanes else 1
    vectors = 1 if private else choose("across", vectors, lambda: (1, 2, 4, 8))
    parts = split(kernel, lane, lanes * vectors, "guard", (f"{lane}_block", lane))
    tiles = split(parts.kernel, parts.inner, lanes, "guard", ("vector", "lane"))
    try:
        scheduled = jam(simplify_kernel(tiles.kernel), tiles.outer, "unrolled")
        return jam(scheduled, tiles.inner, "vector")
    except ScheduleError:
        return kernel
