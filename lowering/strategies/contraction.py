"""Contractions: packed, register-tiled matrix products.

In: a naive nest whose heart is `acc[] = acc[] + A * B`. Its result axes fall into four groups: in
both factors (*batch*), in A only (*rows*), in B only and last in the result (*columns*), in B only
and elsewhere (*outer*). Out, with m×n a register tile:

    pack A: panels of m rows, contiguous in k
    for batch, outer { for column block jb {
      pack B of the block: panels of n columns, contiguous in k
      for row block ib { for panel j in jb { for panel i in ib {
        acc: [m, n] in registers;  for k: acc += A[i, k, :] × B[j, k, :];  epilogue from registers
    } } } } }

Where B is constant it is packed whole, at the top: the pass `prepare` does that once.

So a matrix product, a convolution (whose packing is im2col) and any other sum of products are one
strategy. The blocks keep A and B in the L2 cache; see Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008, for the idea.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.ir.loop.core import Kernel, LoopKind
from stepwell.ir.scalar import Expr, loads, variables
from stepwell.ir.target import Target
from stepwell.lowering.strategies.products import (
    Product,
    extent_of,
    factor_of,
    find_product,
    fused_loops,
    guards_on,
    outermost,
    plain_product,
    without_outer_lets,
)
from stepwell.lowering.strategies.register_tile import Tile, choose_tile
from stepwell.lowering.strategies.skinny import schedule_skinny
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import find_loop
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.reorder import reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split

SMALL = 4  # rows below which packing costs more than it saves


def schedule_contraction(kernel: Kernel, target: Target) -> Kernel | None:
    """The packed, tiled kernel; None where the kernel is not a product worth it."""
    kernel = without_outer_lets(kernel)
    found = find_product(kernel)
    if found is None:
        return None
    rows = extent_of(kernel, found.rows)
    if isinstance(rows, int) and rows < SMALL:
        return schedule_skinny(kernel, found, target)
    columns, depth = extent_of(kernel, found.columns), extent_of(kernel, found.reduction)
    return _tiled(kernel, found, choose_tile(rows, columns, depth, found.a.dtype, target))


def _tiled(kernel: Kernel, found: Product, tile: Tile) -> Kernel:
    outside = (*found.batch, *found.outer)
    order = (*outside, *found.rows, *found.columns)
    kernel = reorder(plain_product(kernel, found), outermost(kernel), order)
    kernel, row = fused_loops(kernel, found.rows)
    kernel, column = fused_loops(kernel, found.columns)
    kernel, deep = fused_loops(kernel, found.reduction)
    kernel = simplify_kernel(kernel)

    rows = split(kernel, row, tile.rows, "guard", ("row_tile", "row"))
    columns = split(rows.kernel, column, tile.width, "guard", ("column_tile", "column"))
    kernel = _pack_a(columns.kernel, (rows.outer, rows.inner), deep, outside)
    vectors = split(kernel, columns.inner, tile.lanes, "guard", ("vector", "lane"))
    kernel = simplify_kernel(vectors.kernel)
    constant = is_constant(kernel, factor_of(kernel, deep, "b"))
    if constant:
        lanes = (columns.outer, vectors.outer, vectors.inner)
        kernel = _pack_constant_b(kernel, lanes, deep, outside)
    row_blocks = split(kernel, rows.outer, tile.row_panels, "bound", ("row_block", "row_panel"))
    column_blocks = split(
        row_blocks.kernel, columns.outer, tile.column_panels, "bound", ("column_block", "panel")
    )
    kernel = simplify_kernel(column_blocks.kernel)
    nest = _Nest(
        outside,
        (row_blocks.outer, row_blocks.inner, rows.inner),
        (column_blocks.outer, column_blocks.inner, vectors.outer, vectors.inner),
        deep,
    )
    (ib, i0, i1), (jb, j0, jv, jl) = nest.rows, nest.columns
    kernel = reorder(kernel, ib, (jb, ib, j0, i0, i1, jv, jl))
    if not constant:
        kernel = _pack_b(kernel, nest, tile)
    kernel = jam(kernel, i1, "unrolled")
    kernel = jam(kernel, jv, "unrolled")
    kernel = jam(kernel, jl, "vector")
    return without_single_loops(kernel)


@dataclass(frozen=True)
class _Nest:
    """The loops after splitting: outside ones; block, panel, row; block, panel, vector, lane; k."""

    outside: tuple[str, ...]
    rows: tuple[str, str, str]
    columns: tuple[str, str, str, str]
    deep: str


def _pack_a(kernel: Kernel, row: tuple[str, str], deep: str, outside: tuple[str, ...]) -> Kernel:
    """Pack A over all rows, as far outside as the loops that it depends on allow."""
    a = factor_of(kernel, deep, "a")
    used = [number for number, name in enumerate(outside) if name in variables(a)]
    before = (*outside, row[0])[used[-1] + 1 if used else 0]
    loops = [(name, find_loop(kernel.body, name).extent) for name in (row[0], deep, row[1])]
    # Rows innermost: the panel is written in order, and its rows are read as so many streams.
    kinds: tuple[LoopKind, ...] = ("serial", "serial", "unrolled")
    return pack(kernel, a, "a_panels", loops, before, guards_on(kernel, row[1]), kinds)


def is_constant(kernel: Kernel, factor: Expr) -> bool:
    """Whether a factor's elements are known before any run."""
    known = {p.buffer.name for p in kernel.parameters if p.role == "const"}
    return all(load.buffer in known for load in loads(factor))


def _pack_constant_b(
    kernel: Kernel, columns: tuple[str, str, str], deep: str, outside: tuple[str, ...]
) -> Kernel:
    """Pack B over all columns, panel by panel, each contiguous in k: before everything else."""
    b, (panel, vector, lane) = factor_of(kernel, deep, "b"), columns
    used = [name for name in outside if name in variables(b)]
    order = (*used, panel, deep, vector, lane)
    loops = [(name, find_loop(kernel.body, name).extent) for name in order]
    kinds: list[LoopKind] = ["serial"] * (len(used) + 2)
    guards = guards_on(kernel, lane)
    return pack(
        kernel, b, "b_panels", loops, outermost(kernel), guards, (*kinds, "unrolled", "vector")
    )


def _pack_b(kernel: Kernel, nest: _Nest, tile: Tile) -> Kernel:
    """Pack B over one block of columns, inside the loop over blocks."""
    jb, j0, jv, jl = nest.columns
    one = find_loop(kernel.body, jb).extent == 1
    room = find_loop(kernel.body, j0).extent if one else tile.column_panels
    depth = find_loop(kernel.body, nest.deep).extent
    # k inside the vectors: what depends on the lanes only is computed once for all k.
    loops = [(j0, room), (jv, tile.vectors), (nest.deep, depth), (jl, tile.lanes)]
    kinds: tuple[LoopKind, ...] = ("serial", "serial", "serial", "vector")
    b = factor_of(kernel, nest.deep, "b")
    return pack(kernel, b, "b_panels", loops, nest.rows[0], guards_on(kernel, jl), kinds)
