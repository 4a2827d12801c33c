"""Products of a few rows with a matrix: bound by reading the matrix, so it is read once, in order.

In: a nest whose heart is `acc[] = acc[] + x[i, k] * w`, with few rows i. Out, by how w lies:

- w[k, j], *along columns*: sums stay in scratch for a block of columns; eight rows of w a time run
  through all of it, so that eight streams are read, each contiguous for the whole block;

      for column block { for k in 0..K // 8 { for vector in block {
        part = sums[vector];  part += x[i, 8*k + 0..8] * w[8*k + 0..8, vector];  sums[vector] = part
      } }  epilogue from sums, by vectors }

- w[j, k] of a constant w: panels of columns, packed once, contiguous in k (`constant_panels.py`);

      for panel { for k { sums[vector] += x[i, k] * panels[panel, k, vector] } }

- w[j, k], *dot products*: several rows of w at once, vectors along k, one sum of lanes per result.

      for column block { for j in block by 8 { lanes[8] += x[i, k] * w[j + 0..8, k] }
        epilogue from the block's sums, by vectors }

  Where w is two arrays end to end, past keys and new ones, each has such loops of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import register_names, stores_of, substitute_block
from stepwell.ir.loop.core import For, Kernel, Store
from stepwell.ir.scalar import (
    Binary,
    Load,
    Select,
    as_dim,
    loads,
    variables,
    walk,
)
from stepwell.ir.scalar import index as scalar_index
from stepwell.ir.size import Dim, ceildiv, provably_le, symbol, symbols
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose, near
from stepwell.lowering.strategies.constant_panels import is_constant, pack_constant
from stepwell.lowering.strategies.products import (
    Product,
    extent_of,
    factor_of,
    fused_loops,
    outermost,
    plain_product,
    streams,
)
from stepwell.lowering.transforms.cut import cut
from stepwell.lowering.transforms.distribute import distribute
from stepwell.lowering.transforms.fission import fission
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.localize import localize
from stepwell.lowering.transforms.navigate import find_loop, replace_loop
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.reorder import reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split
from stepwell.lowering.transforms.vectorize_reduction import vectorize_reduction

STREAMS = 8  # rows of the matrix read side by side
BLOCK = 4096  # bytes of one row in a block of columns: a page
DOTS = 64  # dot products before their epilogue
SHALLOW = 32  # terms below which a sum is no stream


@dataclass(frozen=True)
class _Nest:
    """The loops of the plain nest: outside ones, the rows (fused; none where there is one row),
    the columns (fused), the terms (fused)."""

    kernel: Kernel
    outside: tuple[str, ...]
    row: str | None
    column: str
    deep: str
    lanes: int


def schedule_skinny(kernel: Kernel, found: Product, target: Target) -> Kernel | None:
    """The streaming kernel; None where the matrix is contiguous neither way, or is not one."""
    depth = extent_of(kernel, found.reduction)
    if (isinstance(depth, int) and depth < SHALLOW) or not _is_matrix(found):
        return None
    along = [name for name in (found.columns[-1], found.reduction[-1]) if streams(found.b, name)]
    if not along:
        return None
    nest = _nest(kernel, found, target)
    if along[0] == found.columns[-1]:
        return without_single_loops(_along_columns(nest))
    if _is_packed_once(nest, target):
        return without_single_loops(_panels(nest, target))
    return without_single_loops(_dot_products(nest, target))


def _is_matrix(found: Product) -> bool:
    """Whether each term and column has an element of its own: no windows."""
    own = {*found.columns, *found.reduction}
    subscripts = [index for load in loads(found.b) for index in load.indices]
    return all(len(variables(index) & own) <= 1 for index in subscripts)


def _nest(kernel: Kernel, found: Product, target: Target) -> _Nest:
    outside = (*found.batch, *found.outer)
    order = (*outside, *found.rows, *found.columns)
    kernel = reorder(plain_product(kernel, found), outermost(kernel), order)
    row: str | None = None
    if found.rows:
        kernel, row = fused_loops(kernel, found.rows)
    kernel, column = fused_loops(kernel, found.columns)
    kernel, deep = fused_loops(kernel, found.reduction)
    kernel = _plain_rows(simplify_kernel(kernel), outside, row, column, deep)
    if row and find_loop(kernel.body, row).extent == 1:
        kernel, row = _once(kernel, row), None
    return _Nest(kernel, outside, row, column, deep, target.lanes(found.a.dtype))


def _once(kernel: Kernel, index: str) -> Kernel:
    """Without the loop, which has one iteration."""
    zero = {index: scalar_index(0)}
    body = replace_loop(kernel.body, index, lambda loop: substitute_block(loop.body, zero))
    return simplify_kernel(replace(kernel, body=body))


def _plain_rows(
    kernel: Kernel, outside: tuple[str, ...], row: str | None, column: str, deep: str
) -> Kernel:
    """A computed first, where it is more than a load contiguous in k."""
    a = factor_of(kernel, deep, "a")
    if isinstance(a, Load) and a.guard is None and streams(a, deep):
        return kernel
    inside = (*outside, *((row,) if row else ()), column)
    used = [number for number, name in enumerate(outside) if name in variables(a)]
    before = inside[used[-1] + 1 if used else 0]
    loops = [(name, find_loop(kernel.body, name).extent) for name in (row, deep) if name]
    return pack(kernel, a, "rows", loops, before)


def _along_columns(nest: _Nest) -> Kernel:
    kernel, lanes = nest.kernel, nest.lanes
    depth = find_loop(kernel.body, nest.deep).extent
    streams = choose("streams", STREAMS, lambda: near(STREAMS, 2, 2 * STREAMS))
    streams = min(streams, depth) if isinstance(depth, int) else streams
    accumulator = _accumulator(kernel, nest.deep)
    terms = split(kernel, nest.deep, streams, "peel", ("k_block", "k"))
    kernel, _ = localize(terms.kernel, terms.inner, accumulator)
    block = choose("column_block", BLOCK, lambda: near(BLOCK, 1, 4 * BLOCK))
    room = max(1, block // (lanes * factor_of(nest.kernel, nest.deep, "b").dtype.bytes))
    vectors = split(kernel, nest.column, lanes, "guard", ("vector", "lane"))
    blocks = split(vectors.kernel, vectors.outer, room, "bound", ("column_block", "vector"))
    kernel = simplify_kernel(blocks.kernel)
    rows = (nest.row,) if nest.row else ()
    order = (blocks.outer, blocks.inner, *rows, vectors.inner)
    kernel = reorder(kernel, nest.row or blocks.outer, order)
    for row in rows:
        kernel = jam(kernel, row, "unrolled")
    kernel = _unrolled(jam(kernel, vectors.inner, "vector"), terms.inner)
    return distribute(kernel, blocks.inner, terms.outer, room)


def _is_packed_once(nest: _Nest, target: Target) -> bool:
    """Whether the matrix is worth packing: it is constant, and may stay in a cache from one run to
    the next."""
    b = factor_of(nest.kernel, nest.deep, "b")
    size = extent_of(nest.kernel, (nest.column, nest.deep))
    small = isinstance(size, int) and size * b.dtype.bytes <= target.l3
    return small and choose("pack_b", is_constant(nest.kernel, b), lambda: (False, True))


def _panels(nest: _Nest, target: Target) -> Kernel:
    rows = extent_of(nest.kernel, (nest.row,) if nest.row else ())
    columns = extent_of(nest.kernel, (nest.column,))
    assert isinstance(rows, int) and isinstance(columns, int)
    sums = max(1, target.fma_latency * target.fma_ports // rows)  # so that none waits for another
    width = nest.lanes * min(sums, -(-columns // nest.lanes))
    panels = split(nest.kernel, nest.column, width, "guard", ("panel", "column"))
    vectors = split(panels.kernel, panels.inner, nest.lanes, "guard", ("vector", "lane"))
    lanes = (panels.outer, vectors.outer, vectors.inner)
    kernel = pack_constant(simplify_kernel(vectors.kernel), lanes, nest.deep, nest.outside)
    order = (panels.outer, *((nest.row,) if nest.row else ()), vectors.outer, vectors.inner)
    kernel = reorder(kernel, nest.row or panels.outer, order)
    for index in order[1:-1]:
        kernel = jam(kernel, index, "unrolled")
    return simplify_kernel(jam(kernel, vectors.inner, "vector"))


def _dot_products(nest: _Nest, target: Target) -> Kernel:
    joint = _joint(nest)
    if nest.row or joint is None:
        return _dots(nest, target)
    kernel, second = cut(nest.kernel, nest.column, joint)
    kernel = _dots(replace(nest, kernel=simplify_kernel(kernel)), target)
    (deep,) = (s.index for s in find_loop(kernel.body, second).body if isinstance(s, For))
    return _dots(replace(nest, kernel=kernel, column=second, deep=deep), target)


def _joint(nest: _Nest) -> Dim | None:
    """The column before which the matrix is one array and from which on it is another: past keys
    and new ones. Each gets loops of its own, without a choice in them."""
    extent = find_loop(nest.kernel.body, nest.column).extent
    for part in walk(factor_of(nest.kernel, nest.deep, "b")):
        if not isinstance(part, Select) or not isinstance(part.condition, Binary):
            continue
        left, right = as_dim(part.condition.x), as_dim(part.condition.y)
        if part.condition.op != "lt" or left is None or right is None:
            continue
        at = right - left + symbol(nest.column)
        if (
            symbols(at) <= set(nest.kernel.sizes)
            and provably_le(at, extent)
            and at not in (0, extent)
        ):
            return at
    return None


def _dots(nest: _Nest, target: Target) -> Kernel:
    kernel, lanes = nest.kernel, nest.lanes
    rows = extent_of(kernel, (nest.row,) if nest.row else ())
    assert isinstance(rows, int)
    columns = find_loop(kernel.body, nest.column).extent
    side_by_side = _side_by_side(columns, max(1, target.vector_registers // 2 // rows))
    accumulator = _accumulator(kernel, nest.deep)
    kernel = vectorize_reduction(kernel, nest.deep, lanes, 1)
    block = side_by_side * _groups(columns, side_by_side)
    room = ceildiv(block, lanes) * lanes
    blocks = split(kernel, nest.column, block, "bound", ("column_block", "column"))
    kernel = blocks.kernel
    if nest.row:
        kernel = reorder(kernel, nest.row, (blocks.outer, nest.row, blocks.inner))
    kernel, second = fission(kernel, blocks.inner, accumulator, room)
    registers = register_names(kernel)
    if nest.row:
        (sums,) = {s.buffer for s in stores_of((find_loop(kernel.body, blocks.inner),))} - registers
        kernel, _ = fission(kernel, nest.row, sums, rows)
        kernel = reorder(kernel, nest.row, (blocks.inner, nest.row))
        kernel = jam(kernel, nest.row, "unrolled")
    groups = split(kernel, blocks.inner, side_by_side, "guard", ("group", "dot"))
    kernel = jam(groups.kernel, groups.inner, "unrolled")
    vectors = split(kernel, second, lanes, "guard", ("vector", "lane"))
    return simplify_kernel(jam(vectors.kernel, vectors.inner, "vector"))


def _side_by_side(columns: Dim, most: int) -> int:
    """Dot products at once: a divisor of their number where a good one is."""
    most = choose("streams", min(most, STREAMS), lambda: range(1, most + 1))
    if isinstance(columns, int):
        most = min(most, columns)
        for count in range(most, most // 2, -1):
            if columns % count == 0:
                return count
    return most


def _groups(columns: Dim, side_by_side: int) -> int:
    """Groups in a block: a divisor of their number where a good one is."""
    most = max(1, DOTS // side_by_side)
    if isinstance(columns, int) and columns % side_by_side == 0:
        groups = columns // side_by_side
        return next(n for n in range(min(most, groups), 0, -1) if groups % n == 0)
    return most


def _accumulator(kernel: Kernel, deep: str) -> str:
    store = find_loop(kernel.body, deep).body[-1]
    assert isinstance(store, Store)
    return store.buffer


def _unrolled(kernel: Kernel, index: str) -> Kernel:
    body = replace_loop(kernel.body, index, lambda loop: (replace(loop, kind="unrolled"),))
    return replace(kernel, body=body)
